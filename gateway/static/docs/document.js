// The document as the page /docs shows it.

/** Send requests to where the page is, which may be below a path that the document need not know, and link problems. */
export function adapt(api, service) {
  const { responses } = api.components;
  const linked = Object.entries(responses).map(([name, response]) => [name, withLinks(response, service)]);
  return {
    ...api,
    servers: [{ url: service }],
    components: { ...api.components, responses: Object.fromEntries(linked) },
  };
}

function withLinks(response, service) {
  const description = response.description.replaceAll(/`\/(problems\/[\w-]+)`/g, `[\`/$1\`](${service}$1)`);
  return { ...response, description };
}
