/** Fuzzes what recording cameras reads besides files: the pipes of ffmpeg, and addresses. */
import { fuzzTest } from './check.ts';
import { addresses, pipe } from './targets/ingest.ts';

fuzzTest(pipe);
fuzzTest(addresses);
