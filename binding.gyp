{
  "includes": ["native/sources.gypi"],
  "targets": [
    {
      "target_name": "footage",
      "sources": ["<@(core_sources)", "<@(addon_sources)"],
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except_all"],
      "defines": ["NAPI_VERSION=9"],
      "cflags": ["-fvisibility=hidden", "-Wall", "-Wextra"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20"],
      "configurations": {
        "Release": { "defines": ["NDEBUG"], "cflags": ["-O3"] }
      }
    }
  ]
}
