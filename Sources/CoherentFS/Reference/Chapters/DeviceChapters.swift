extension Manual {
    /// sys/class/cdm and dev/.
    static let devices: [Chapter] = [
        Chapter("sys/class", summary: "Devices by what they are.", linux: "/sys/class"),
        Chapter("sys/class/cdm", summary: "The coherent devices.", linux: "none"),
        Chapter(
            "sys/class/cdm/cdmN", summary: "A coherent device.", linux: "none; drivers/dax/bus.c is the nearest",
            [
                "numa_node": ManualPage(reads: "a number, decimal", linux: "drivers/dax/bus.c"),
                "size": ManualPage(reads: "bytes, decimal", linux: "drivers/dax/bus.c"),
                "state": ManualPage(
                    reads: "offline, online_in_progress, online, online_failed, offline_in_progress or offline_failed",
                    writes: "`online` or `offline`: every block of the node, going offline the last one first",
                    errors: [
                        "EINVAL": "another word",
                        "EBUSY":
                            "another change is under way, or a page has nowhere to go; blocks that are offline by then stay so",
                        "EINTR": "interrupted; blocks that are offline by then stay so",
                    ], linux: "none; daxctl online-memory and offline-memory do it block by block"),
            ]),
        Chapter(
            "dev", summary: "A file for each coherent device.", linux: "/dev",
            [
                "cdmN": ManualPage(
                    summary: "The device's memory: open, mmap, read, write, fallocate.",
                    text:
                        "As large as the device's memory, and always bound to its node; no other size can be set. Its controls are in sys/class/cdm/cdmN/buffer. A page without a frame to be had is SIGBUS through a mapping, ENOSPC through write(2).",
                    linux: "drivers/dax/device.c")
            ]),
    ]
}
