import { readFileSync } from "node:fs";
import { Configuration, PredictApi } from "./typescript-fetch";

const [url, path] = process.argv.slice(2);
const photo = readFileSync(path);
const api = new PredictApi(new Configuration({ basePath: url }));

const uploaded = await api.predict({ image: [new Blob([photo])] });
if ("label" in uploaded) console.log("multipart", uploaded.label);

const sent = await api.predictJson({ predictFields: { image: photo.toString("base64") } });
if ("label" in sent) console.log("json", sent.label);
