#!/usr/bin/env node
'use strict';
// The thread pool takes its size when it is first used; the imports of an ES module use it already. So this file, which
// uses none of it, sets it, and then the program is imported. Threads wait for disks, not for processors: four are too few
// for disks that stall.
const { availableParallelism } = require('node:os');
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(16, 2 * availableParallelism()));
import('../dist/cli/main.js').catch((error) => {
  const built = error.code !== 'ERR_MODULE_NOT_FOUND';
  console.error(built ? error : 'footage: the program is not built yet: run "npm run build" first.');
  process.exitCode = 1;
});
