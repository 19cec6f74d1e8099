// Draws /openapi.json on the page /docs; the drawing comes with a package, not from a foreign server.

globalThis.SwaggerUIBundle({ url: "/openapi.json", domNode: document.getElementById("docs"), deepLinking: true });
