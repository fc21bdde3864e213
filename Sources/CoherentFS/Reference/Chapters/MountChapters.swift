extension Manual {
    /// What stands in many places, and directories that only hold others.
    static let common: [Chapter] = [
        Chapter(
            "", summary: "The mount: sys/ to inspect and control the machine, dev/ and buffers/ to map memory.",
            linux: "none"),
        Chapter(
            "*", summary: "",
            [
                "subsystem": ManualPage(summary: "The bus of the device.", linux: "drivers/base/bus.c"),
                "uevent": ManualPage(
                    reads: "nothing: the events of these devices have no variables of their own",
                    writes:
                        "`ACTION [UUID [KEY=VALUE]…]`, ACTION one of add, remove, change, move, online, offline, bind, unbind",
                    errors: [
                        "EINVAL": "unknown action, a malformed UUID, or a key or value that is not alphanumeric"
                    ],
                    text: "The event appears in sys/kernel/cdm/uevents. A device without a bus sends none.",
                    linux: "drivers/base/core.c; Documentation/ABI/testing/sysfs-uevent"),
            ]),
        Chapter(
            "sys", summary: "The machine in the form of sysfs.",
            text:
                "Nothing below it can be made, removed or renamed (EPERM), or mapped (ENODEV). Root may change modes and owners; changes last as long as the object. Times cannot be changed.",
            linux: "/sys"),
        Chapter("sys/devices", summary: "The devices of the machine.", linux: "/sys/devices"),
        Chapter("sys/devices/system", summary: "Nodes, memory blocks and CPUs.", linux: "/sys/devices/system"),
        Chapter("sys/devices/virtual", summary: "Devices without hardware.", linux: "/sys/devices/virtual"),
        Chapter("sys/bus", summary: "The buses, to which the `subsystem` links point.", linux: "/sys/bus"),
        Chapter(
            "sys/bus/cpu", "sys/bus/memory", "sys/bus/node", "sys/bus/memory_tiering",
            summary: "A bus: its devices and its drivers.",
            linux: "drivers/base/bus.c",
            [
                "devices": ManualPage(summary: "A link to each device of the bus."),
                "drivers": ManualPage(summary: "The drivers of the bus: none."),
            ]),
        Chapter(
            "sys/bus/cpu/devices", "sys/bus/memory/devices", "sys/bus/node/devices", "sys/bus/memory_tiering/devices",
            summary: "A link to each device of the bus.", linux: "drivers/base/bus.c",
            [
                "cpuN": ManualPage(summary: "The CPU."),
                "memoryM": ManualPage(summary: "The memory block."),
                "nodeN": ManualPage(summary: "The node."),
                "memory_tierT": ManualPage(summary: "The tier."),
            ]),
        Chapter(
            "*/power", summary: "Power management of a device. Devices never suspend.",
            linux: "drivers/base/power/sysfs.c; Documentation/ABI/testing/sysfs-devices-power",
            [
                "control": ManualPage(
                    reads: "`auto` or `on`", writes: "one of the words; it is stored and has no effect",
                    errors: ["EINVAL": "unknown word"]),
                "runtime_active_time": ManualPage(reads: "milliseconds, decimal"),
                "runtime_status": ManualPage(reads: "`unsupported`"),
                "runtime_suspended_time": ManualPage(reads: "milliseconds, decimal"),
            ]),
    ]
}
