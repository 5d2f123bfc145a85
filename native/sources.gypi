{
  "variables": {
    "core_sources": [
      "native/crc32c.cc",
      "native/scan.cc",
      "native/flush.cc",
      "native/libstdcxx_floor.cc",
      "native/send_run.cc"
    ],
    "addon_sources": [
      "native/connection.cc",
      "native/jobs.cc",
      "native/sender.cc",
      "native/binding.cc"
    ]
  }
}
