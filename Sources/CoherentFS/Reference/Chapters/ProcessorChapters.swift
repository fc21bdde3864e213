extension Manual {
    private static let list = "a list of CPU numbers, `0-3,8`; an empty line for none"

    /// sys/devices/system/cpu.
    static let processors: [Chapter] = [
        Chapter(
            "sys/devices/system/cpu", summary: "The CPUs, as far as their node is concerned.",
            text: "What a CPU is and does remains for the host's own directory to tell.",
            linux: "drivers/base/cpu.c; Documentation/ABI/testing/sysfs-devices-system-cpu",
            [
                "kernel_max": ManualPage(reads: "a number, decimal"),
                "offline": ManualPage(reads: list),
                "online": ManualPage(reads: list),
                "possible": ManualPage(reads: list),
                "present": ManualPage(reads: list),
            ]),
        Chapter(
            "sys/devices/system/cpu/cpuN", summary: "A CPU.",
            linux: "drivers/base/cpu.c; Documentation/ABI/testing/sysfs-devices-system-cpu",
            ["nodeN": ManualPage(summary: "The node of the CPU.")]),
    ]

    /// sys/devices/virtual/memory_tiering.
    static let tiers: [Chapter] = [
        Chapter(
            "sys/devices/virtual/memory_tiering", summary: "The tiers of memory, the fastest with the lowest number.",
            linux: "mm/memory-tiers.c; Documentation/ABI/testing/sysfs-kernel-mm-memory-tiers"),
        Chapter(
            "sys/devices/virtual/memory_tiering/memory_tierT", summary: "A tier: nodes whose memory is about as fast.",
            text: "RAM is tier 4, memory of devices tier 22. A tier is there while a node of it has memory online.",
            linux: "mm/memory-tiers.c; Documentation/ABI/testing/sysfs-kernel-mm-memory-tiers",
            ["nodelist": ManualPage(reads: "a list of node numbers, `0-1,4`")]),
    ]
}
