extension Manual {
    private static let count = ManualPage(reads: "a number, decimal")
    private static let deviceAddress =
        "a device address in any base: the device's own memory begins at 0, what was added to it lies behind"
    private static let badAddress = "no number, no multiple of 64, or no address of the device"

    /// Errors of memory and links, made and counted.
    static let failures: [Chapter] = [
        Chapter(
            "sys/class/cdm/cdmN/ras", summary: "What the device reports of errors.",
            text:
                "Counts go on when the device is gone and back; `poisoned` and `retired` are of now. Each error is an event, too (sys/kernel/cdm/uevents): ACTION=change with CDM_EVENT=poison, offline, clear, correctable, link_error, link_down, link_up, lost or signalled; ADDRESS is the physical address of the page, BUFFER and OFFSET the page of whoever had it, COUNT how many errors.",
            linux: "drivers/edac; Documentation/ABI/testing/sysfs-edac-memory-repair; rasdaemon",
            [
                "correctable": count, "uncorrectable": count, "poisoned": count, "retired": count,
                "link_errors": count,
            ]),
        Chapter(
            "sys/kernel/debug/cdm", summary: "Errors of the devices on demand.",
            linux: "/sys/kernel/debug/cxl; Documentation/ABI/testing/debugfs-cxl"),
        Chapter(
            "sys/kernel/debug/cdm/cdmN", summary: "Errors of one device on demand.",
            linux: "drivers/cxl/core/memdev.c; Documentation/ABI/testing/debugfs-cxl",
            [
                "inject_poison": ManualPage(
                    writes: deviceAddress,
                    errors: [
                        "EINVAL": badAddress, "ERANGE": "a number beyond 64 bits",
                        "ENXIO": "no memory block is there", "EINTR": "interrupted before it was done",
                    ],
                    text:
                        "As hard_offline_page for memory that is online. Memory that is offline cannot be brought online before it is cleared. What is poisoned already stays so, without an error."
                ),
                "clear_poison": ManualPage(
                    writes: deviceAddress,
                    errors: ["EINVAL": badAddress, "ERANGE": "a number beyond 64 bits"],
                    text:
                        "The frame is in service again. Where the page is still marked as poisoned in a buffer, it is a hole there, and reads as zeros. What is not poisoned is left alone; a page that was only taken out of use comes back, too."
                ),
                "poison_list": ManualPage(
                    reads:
                        "lines of `ADDRESS LENGTH WHY`, device address and bytes in hexadecimal; why: injected, internal (the error model), external (hard_offline_page or `poison` of a buffer) or offlined (out of use, and good)",
                    linux: "trigger_poison_list of drivers/cxl"),
                "inject_correctable": ManualPage(
                    writes: "`COUNT`, 1 to 1000000, or `COUNT ADDRESS`: \(deviceAddress)",
                    errors: [
                        "EINVAL": "malformed, or \(badAddress)", "ERANGE": "a count that may not be",
                        "EINTR": "interrupted; errors until then are counted",
                    ],
                    text:
                        "Without an address each is at a page of its own, which the seed of the error model determines. Once a page has had error_model/correctable_threshold of them, it is taken out of use as by soft_offline_page, and its count begins anew.",
                    linux: "none; drivers/acpi/apei/einj-core.c"),
                "inject_link_error": ManualPage(
                    writes: "how many errors, 1 to 1000",
                    errors: [
                        "EINVAL": "no number", "ERANGE": "a number that may not be", "ENODEV": "the device is gone",
                    ],
                    text:
                        "Each is counted in ras/link_errors and keeps the link busy for link/retrain: touches of the device's memory that is not cached, and copies to and from it, wait as long, whether the link is paced or not.",
                    linux: "none; drivers/acpi/apei/einj-cxl.c"),
            ]),
        Chapter(
            "sys/kernel/debug/cdm/cdmN/error_model",
            summary: "Errors of the device at random; none until a rate is set.",
            text:
                "The errors are a Poisson process over the device's own memory. The seed determines their order, kinds and places.",
            linux: "none; drivers/edac and rasdaemon on the other end",
            [
                "seed": ManualPage(
                    reads: "a number, decimal", writes: "a number, which begins the sequence anew",
                    errors: ["EINVAL": "no number", "ERANGE": "a number beyond 64 bits"]),
                "correctable_rate": rate, "uncorrectable_rate": rate,
                "correctable_threshold": ManualPage(
                    reads: "a number, decimal", writes: "a number; 0 for never",
                    errors: ["EINVAL": "no number", "ERANGE": "a number beyond 64 bits"],
                    linux: "PAGE_CE_THRESHOLD of rasdaemon"),
            ]),
        Chapter(
            "sys/kernel/debug/hwpoison", summary: "Poison at any page of the machine.",
            linux: "mm/hwpoison-inject.c; Documentation/mm/hwpoison.rst",
            [
                "corrupt-pfn": ManualPage(
                    writes: "a page frame number, in any base: a physical address divided by 4096",
                    errors: [
                        "EINVAL": "no number", "ERANGE": "a number beyond 64 bits", "ENXIO": "no memory is there",
                        "EHWPOISON": "it has failed before", "EINTR": "interrupted before it was done",
                    ]),
                "unpoison-pfn": ManualPage(
                    writes: "a page frame number, in any base",
                    errors: [
                        "EINVAL": "no number", "ERANGE": "a number beyond 64 bits", "ENXIO": "no memory can be there",
                    ], text: "As clear_poison of a device. What did not fail is left alone."),
            ]),
    ]

    private static let rate = ManualPage(
        reads: "errors per GiB and second, decimal", writes: "a decimal number, 0 to 1000000: `0.25`",
        errors: ["EINVAL": "no number", "ERANGE": "out of range"])
}
