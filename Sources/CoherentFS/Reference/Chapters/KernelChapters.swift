extension Manual {
    /// sys/kernel, but for the controls of buffers.
    static let kernel: [Chapter] = [
        Chapter("sys/kernel", summary: "What belongs to no device.", linux: "/sys/kernel"),
        Chapter("sys/kernel/mm", summary: "Memory management as a whole.", linux: "/sys/kernel/mm"),
        Chapter(
            "sys/kernel/mm/numa", summary: "Tiering.",
            linux: "mm/memory-tiers.c; Documentation/ABI/testing/sysfs-kernel-mm-numa",
            [
                "demotion_enabled": ManualPage(
                    reads: "`true` or `false`", writes: "a truth value: 1, y, on, true, 0, n, off, false, …",
                    errors: ["EINVAL": "another word"],
                    text: "It is for what `reclaim` of a node is asked to free; nothing is demoted unasked.")
            ]),
        Chapter("sys/kernel/mm/mempolicy", summary: "Policies as a whole.", linux: "mm/mempolicy.c"),
        Chapter(
            "sys/kernel/mm/mempolicy/weighted_interleave", summary: "The weights of weighted interleaving.",
            linux: "mm/mempolicy.c; Documentation/ABI/testing/sysfs-kernel-mm-mempolicy-weighted-interleave",
            [
                "auto": ManualPage(
                    reads: "`true` or `false`", writes: "a truth value: 1, y, on, true, 0, n, off, false, …",
                    errors: ["EINVAL": "another word"],
                    text:
                        "true: every weight is 1, and those that were set are gone. false: the weights stay as they are."
                ),
                "nodeN": ManualPage(
                    reads: "a number from 1 to 255",
                    writes: "a number from 1 to 255, in base 10, 8 (`010`) or 16 (`0x10`)",
                    errors: ["EINVAL": "no number, or out of range"],
                    text: "There is one for each node that has memory online."),
            ]),
        Chapter(
            "sys/kernel/cdm", summary: "What has no Linux counterpart.", linux: "none",
            [
                "pid": ManualPage(reads: "a number, decimal"),
                "uevents": ManualPage(
                    reads:
                        "whole events as in `ACTION=online\\nDEVPATH=/devices/…\\nSUBSYSTEM=memory\\nSEQNUM=17\\n\\n`, from the moment it was opened on",
                    text:
                        "A read waits for the next event (EAGAIN with O_NONBLOCK, EINTR when interrupted); poll(2) tells of it with POLLIN. Every reader gets all; one more than \(UeventLog.capacity) events behind loses the oldest and reads `ACTION=lost` and COUNT, how many, in their place.",
                    linux: "the NETLINK_KOBJECT_UEVENT socket; lib/kobject_uevent.c"),
            ]),
    ]
}
