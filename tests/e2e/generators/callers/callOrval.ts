import { readFileSync } from "node:fs";
import { predict, predictJson } from "./orval/client";

const photo = readFileSync(process.argv[3]);

const uploaded = await predict({ image: [new Blob([photo])] });
if (uploaded.status === 200 && "label" in uploaded.data) console.log("multipart", uploaded.data.label);

const sent = await predictJson({ image: photo.toString("base64") });
if (sent.status === 200 && "label" in sent.data) console.log("json", sent.data.label);
