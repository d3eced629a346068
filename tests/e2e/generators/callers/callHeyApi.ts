import { readFileSync } from "node:fs";
import { predict, predictJson } from "./hey-api";
import { client } from "./hey-api/client.gen";

const [url, path] = process.argv.slice(2);
const photo = readFileSync(path);
client.setConfig({ baseUrl: url });

const uploaded = await predict({ body: { image: [new Blob([photo])] } });
if (uploaded.data && "label" in uploaded.data) console.log("multipart", uploaded.data.label);

const sent = await predictJson({ body: { image: photo.toString("base64") } });
if (sent.data && "label" in sent.data) console.log("json", sent.data.label);
