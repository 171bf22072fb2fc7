// Remove what an earlier build has made: a file whose source is gone would still be published.
import { rmSync } from "node:fs";

rmSync(new URL("../dist", import.meta.url), { recursive: true, force: true });
