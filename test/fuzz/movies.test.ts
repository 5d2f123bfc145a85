/** Fuzzes what import reads: files and the codec configurations in them. */
import { fuzzTest } from './check.ts';
import { codec, mediaFile, movie } from './targets/movies.ts';

fuzzTest(movie);
fuzzTest(codec);
fuzzTest(mediaFile);
