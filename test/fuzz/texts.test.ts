/** Fuzzes what clients and users write: fields, queries, times, names, whole requests. */
import { fuzzTest } from './check.ts';
import { requests } from './targets/requests.ts';
import { fields, queries, times } from './targets/texts.ts';

fuzzTest(fields);
fuzzTest(queries);
fuzzTest(times);
fuzzTest(requests);
