#!/usr/bin/env node
'use strict';
// The thread pool takes its size when it is first used; the imports of an ES module use it already. So this file, which
// uses nothing, sets it, and then the program is imported. Four threads are too few for disks that stall.
process.env.UV_THREADPOOL_SIZE ??= '16';
import('../dist/cli/main.js').catch((error) => {
  const built = error.code !== 'ERR_MODULE_NOT_FOUND';
  console.error(built ? error : 'footage: the program is not built yet: run "npm run build" first.');
  process.exitCode = 1;
});
