// The document as the page /docs shows it.

/**
 * Send requests to where the page is, which may be below a path that the document need not know. Of a problem, show only
 * a link to its page, which has the example: to draw those of each operation takes seconds.
 */
export function adapt(api, service) {
  const { responses } = api.components;
  const linked = Object.entries(responses).map(([name, response]) => [name, linkProblems(response, service)]);
  return {
    ...api,
    servers: [{ url: service }],
    components: { ...api.components, responses: Object.fromEntries(linked) },
  };
}

function linkProblems({ description }, service) {
  return { description: description.replaceAll(/`\/(problems\/[\w-]+)`/g, `[\`/$1\`](${service}$1)`) };
}
