// The service may be published below a path, which its document need not know: requests go to where this page is.
const service = new URL(".", document.baseURI).pathname;
const requestsGoHere = {
  statePlugins: {
    spec: {
      wrapActions: { updateJsonSpec: (update) => (document) => update({ ...document, servers: [{ url: service }] }) },
    },
  },
};

// Without `validatorUrl: null`, Swagger UI would send the document to validator.swagger.io.
SwaggerUIBundle({
  url: new URL("api/v1/openapi.json", document.baseURI).href,
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  plugins: service === "/" ? [] : [requestsGoHere],
  validatorUrl: null,
});
