/** Opens an archive, which recovers it; says `begins` right before, so that whoever kills it hits the recovery. */
import { writeSync } from 'node:fs';
import { openArchive } from '../../dist/index.js';

writeSync(1, 'begins\n');
const archive = await openArchive(process.argv[2], { create: false });
await archive.close();
