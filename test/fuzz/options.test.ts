/** Fuzzes what users configure: options of the library and the command line. */
import { fuzzTest } from './check.ts';
import { commandLine, options } from './targets/options.ts';

fuzzTest(options);
fuzzTest(commandLine);
