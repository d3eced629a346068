import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./openapi-typescript";

const [url, path] = process.argv.slice(2);
const photo = readFileSync(path);
const client = createClient<paths>({ baseUrl: url });

const file = new Blob([photo]) as unknown as string; // binary data is a string in these types
const uploaded = await client.POST("/api/v1/predict", {
  body: { image: [file] },
  bodySerializer: (body: components["schemas"]["ImageParts"]) => {
    const form = new FormData();
    for (const image of body.image) form.append("image", image as unknown as Blob);
    return form;
  },
});
if (uploaded.data && "label" in uploaded.data) console.log("multipart", uploaded.data.label);

const sent = await client.POST("/api/v1/predict/json", { body: { image: photo.toString("base64") } });
if (sent.data && "label" in sent.data) console.log("json", sent.data.label);
