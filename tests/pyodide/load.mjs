// Loads Pyodide, unpacks what the test serves, runs inside.py: the same in Node and in a page.

export async function run(loadPyodide, http) {
  const python = await loadPyodide();
  for (const wheel of ["msgpack.whl", "reliable_ws.whl"]) {
    python.unpackArchive(await (await fetch(`${http}/${wheel}`)).arrayBuffer(), "wheel");
  }
  const inside = await (await fetch(`${http}/inside.py`)).arrayBuffer();
  python.FS.writeFile("inside.py", new Uint8Array(inside));
  const ports = await (await fetch(`${http}/ports`)).json();
  python.globals.set("ports", python.toPy({ ...ports, http }));
  return python.runPythonAsync(`
    import json
    import inside
    json.dumps(await inside.run(ports["proxied"], ports["plain"], ports["http"]))
  `);
}
