// node node.mjs PYODIDE HTTP: prints one line of JSON.

const [folder, http] = process.argv.slice(2);
const { loadPyodide } = await import(`${folder}/pyodide.mjs`);
const { run } = await import("./load.mjs");
console.log(await run(() => loadPyodide({ stdout: console.error }), http));
process.exit(0);
