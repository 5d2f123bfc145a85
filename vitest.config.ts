import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/**/*.test.ts'],
    // Real media, real clients and real time: the slow ones say so themselves.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    coverage: { include: ['src/**/*.ts'], reporter: ['text', 'html'] },
  },
});
