extension Manual {
    /// What stands in many places, and directories that only hold others.
    static let common: [Chapter] = [
        Chapter("", summary: "The mount: sys/ to look and to steer, dev/ and buffers/ to map.", linux: "none"),
        Chapter(
            "*", summary: "",
            [
                "subsystem": ManualPage(summary: "The bus of the device.", linux: "drivers/base/bus.c"),
                "uevent": ManualPage(
                    reads: "nothing, for the events of these devices carry their place alone",
                    writes:
                        "`ACTION [UUID [KEY=VALUE]…]`, ACTION one of add, remove, change, move, online, offline, bind, unbind",
                    errors: [
                        "EINVAL": "another action, a UUID out of form, or a key or value that is not alphanumeric"
                    ],
                    text: "The event appears in sys/kernel/cdm/uevents; of what is on no bus nothing does.",
                    linux: "drivers/base/core.c; Documentation/ABI/testing/sysfs-uevent"),
            ]),
        Chapter(
            "sys", summary: "The machine as sysfs would show it.",
            text:
                "Nothing can be made, removed or renamed below it (EPERM), and nothing be mapped (ENODEV). Root may change modes and owners, which last as long as what they are of; times stay.",
            linux: "/sys"),
        Chapter("sys/devices", summary: "The devices of the machine.", linux: "/sys/devices"),
        Chapter("sys/devices/system", summary: "Nodes, memory blocks and CPUs.", linux: "/sys/devices/system"),
        Chapter("sys/devices/virtual", summary: "Devices that are no hardware.", linux: "/sys/devices/virtual"),
        Chapter("sys/bus", summary: "The buses, to which the `subsystem` links lead.", linux: "/sys/bus"),
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
            "*/power", summary: "Power management of a device, which here never suspends.",
            linux: "drivers/base/power/sysfs.c; Documentation/ABI/testing/sysfs-devices-power",
            [
                "control": ManualPage(
                    reads: "`auto` or `on`", writes: "either word; it is kept and has no effect",
                    errors: ["EINVAL": "another word"]),
                "runtime_active_time": ManualPage(reads: "milliseconds, decimal"),
                "runtime_status": ManualPage(reads: "`unsupported`"),
                "runtime_suspended_time": ManualPage(reads: "milliseconds, decimal"),
            ]),
    ]
}
