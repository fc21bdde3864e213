extension Manual {
    private static let count = ManualPage(reads: "a number, decimal")
    private static let deviceAddress =
        "a device address in any base: the device's initial memory begins at 0; memory that was added follows it"
    private static let badAddress = "not a number, not a multiple of 64, or not an address of the device"

    /// Errors of memory and links, made and counted.
    static let failures: [Chapter] = [
        Chapter(
            "sys/class/cdm/cdmN/ras", summary: "Error counts of the device.",
            text:
                "Counts continue after the device is removed and added again; `poisoned` and `retired` are current figures. Each error is also an event (sys/kernel/cdm/uevents): ACTION=change with CDM_EVENT=poison, offline, clear, correctable, link_error, link_down, link_up, lost or signalled. ADDRESS is the physical address of the page, BUFFER and OFFSET are its place in a buffer, COUNT is the number of errors.",
            linux: "drivers/edac; Documentation/ABI/testing/sysfs-edac-memory-repair; rasdaemon",
            [
                "correctable": count, "uncorrectable": count, "poisoned": count, "retired": count,
                "link_errors": count,
            ]),
        Chapter(
            "sys/kernel/debug/cdm", "sys/kernel/debug/cxl", summary: "Injection of device errors.",
            linux: "/sys/kernel/debug/cxl; Documentation/ABI/testing/debugfs-cxl"),
        Chapter(
            "sys/kernel/debug/cdm/cdmN", "sys/kernel/debug/cxl/memN",
            summary: "Injection of errors of one device.",
            text: "The files of sys/kernel/debug/cxl/memN are those of the same device in sys/kernel/debug/cdm.",
            linux: "drivers/cxl/core/memdev.c; Documentation/ABI/testing/debugfs-cxl",
            [
                "inject_poison": ManualPage(
                    writes: deviceAddress,
                    errors: [
                        "EINVAL": badAddress, "ERANGE": "more than 64 bits",
                        "ENXIO": "there is no memory block", "EINTR": "interrupted before the operation was complete",
                    ],
                    text:
                        "For memory that is online, the same as hard_offline_page. Memory that is offline cannot go online before it is cleared. A page that is poisoned already is accepted and stays poisoned."
                ),
                "clear_poison": ManualPage(
                    writes: deviceAddress,
                    errors: ["EINVAL": badAddress, "ERANGE": "more than 64 bits"],
                    text:
                        "The frame is in service again. A page that is still marked as poisoned in a buffer becomes a hole, and reads as zeros. A page that is not poisoned is not changed; a page that is only out of use is put back in service, too."
                ),
                "poison_list": ManualPage(
                    reads:
                        "lines of `ADDRESS LENGTH WHY`, device address and bytes in hexadecimal; why: injected, internal (the error model), external (hard_offline_page or `poison` of a buffer) or offlined (out of use, but without an error)",
                    linux: "trigger_poison_list of drivers/cxl"),
                "inject_correctable": ManualPage(
                    writes: "`COUNT`, 1 to 1000000, or `COUNT ADDRESS`: \(deviceAddress)",
                    errors: [
                        "EINVAL": "malformed, or \(badAddress)", "ERANGE": "a count out of range",
                        "EINTR": "interrupted; the errors before are counted",
                    ],
                    text:
                        "Without an address each error is at a page of its own, which the seed of the error model determines. A page with error_model/correctable_threshold errors is taken out of use as by soft_offline_page, and its count restarts.",
                    linux: "none; drivers/acpi/apei/einj-core.c"),
                "inject_link_error": ManualPage(
                    writes: "the number of errors, 1 to 1000",
                    errors: [
                        "EINVAL": "not a number", "ERANGE": "a number out of range", "ENODEV": "the device is gone",
                    ],
                    text:
                        "Each error is counted in ras/link_errors and keeps the link busy for link/retrain. During this time touches of the device's memory that are not cached, and copies to and from it, wait, even if the link is not paced.",
                    linux: "none; drivers/acpi/apei/einj-cxl.c"),
            ]),
        Chapter(
            "sys/kernel/debug/cdm/cdmN/error_model",
            summary: "Random errors of the device. Default: none, all rates are 0.",
            text:
                "The errors are a Poisson process over the device's own memory. The seed determines their order, kinds and places.",
            linux: "none; read by drivers/edac and rasdaemon",
            [
                "seed": ManualPage(
                    reads: "a number, decimal", writes: "a number, which restarts the sequence",
                    errors: ["EINVAL": "not a number", "ERANGE": "more than 64 bits"]),
                "correctable_rate": rate, "uncorrectable_rate": rate,
                "correctable_threshold": ManualPage(
                    reads: "a number, decimal", writes: "a number; 0 for never",
                    errors: ["EINVAL": "not a number", "ERANGE": "more than 64 bits"],
                    linux: "PAGE_CE_THRESHOLD of rasdaemon"),
            ]),
        Chapter(
            "sys/kernel/debug/hwpoison", summary: "Injection of poison at any page of the machine.",
            linux: "mm/hwpoison-inject.c; Documentation/mm/hwpoison.rst",
            [
                "corrupt-pfn": ManualPage(
                    writes: "a page frame number, in any base: a physical address divided by 4096",
                    errors: [
                        "EINVAL": "not a number", "ERANGE": "more than 64 bits", "ENXIO": "there is no memory",
                        "EHWPOISON": "the page has failed before",
                        "EINTR": "interrupted before the operation was complete",
                    ]),
                "unpoison-pfn": ManualPage(
                    writes: "a page frame number, in any base",
                    errors: [
                        "EINVAL": "not a number", "ERANGE": "more than 64 bits", "ENXIO": "no memory can be there",
                    ], text: "The same as clear_poison of a device. A page that has not failed is not changed."),
            ]),
    ]

    private static let rate = ManualPage(
        reads: "errors per GiB and second, decimal", writes: "a decimal number, 0 to 1000000: `0.25`",
        errors: ["EINVAL": "not a number", "ERANGE": "out of range"])
}
