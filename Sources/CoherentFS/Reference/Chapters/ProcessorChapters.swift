extension Manual {
    private static let list = "a list of CPU numbers, `0-3,8`; an empty line if there are none"

    /// sys/devices/system/cpu.
    static let processors: [Chapter] = [
        Chapter(
            "sys/devices/system/cpu", summary: "The CPUs of the nodes; the host may lack some of them.",
            text: "The CPUs of a node are the cores of one package. Caches and frequencies are not simulated.",
            linux: "drivers/base/cpu.c; Documentation/ABI/testing/sysfs-devices-system-cpu",
            [
                "isolated": ManualPage(reads: list),
                "kernel_max": ManualPage(reads: "a number, decimal"),
                "offline": ManualPage(reads: list),
                "online": ManualPage(reads: list),
                "possible": ManualPage(reads: list),
                "present": ManualPage(reads: list),
            ]),
        Chapter(
            "sys/devices/system/cpu/cpuN", summary: "A CPU.",
            linux: "drivers/base/cpu.c; Documentation/ABI/testing/sysfs-devices-system-cpu",
            [
                "nodeN": ManualPage(summary: "The node of the CPU."),
                "topology": ManualPage(summary: "The position of the CPU in the topology."),
            ]),
        Chapter(
            "sys/devices/system/cpu/cpuN/topology", summary: "The position of a CPU in the topology.",
            linux: "drivers/base/topology.c; Documentation/ABI/stable/sysfs-devices-system-cpu",
            [
                "cluster_id": ManualPage(reads: "`65535`"),
                "core_id": ManualPage(reads: "a number, decimal"),
                "die_id": ManualPage(reads: "`0`"),
                "physical_package_id": ManualPage(reads: "a number, decimal"),
            ].merging(topologySets) { first, _ in first }),
    ]

    private static let topologySets = Dictionary(
        uniqueKeysWithValues: [
            "cluster_cpus", "core_cpus", "thread_siblings", "core_siblings", "die_cpus", "package_cpus",
        ].flatMap { [($0, ManualPage(reads: "a mask")), ($0 + "_list", ManualPage(reads: list))] })

    /// sys/devices/virtual/memory_tiering.
    static let tiers: [Chapter] = [
        Chapter(
            "sys/devices/virtual/memory_tiering", summary: "The memory tiers; the fastest has the lowest number.",
            linux: "mm/memory-tiers.c; Documentation/ABI/testing/sysfs-kernel-mm-memory-tiers"),
        Chapter(
            "sys/devices/virtual/memory_tiering/memory_tierT",
            summary: "A tier: nodes whose memory has a similar speed.",
            text: "RAM is tier 4, memory of devices tier 22. A tier exists while a node of it has memory online.",
            linux: "mm/memory-tiers.c; Documentation/ABI/testing/sysfs-kernel-mm-memory-tiers",
            ["nodelist": ManualPage(reads: "a list of node numbers, `0-1,4`")]),
    ]
}
