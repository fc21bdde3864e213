extension Manual {
    private static let number = "a number, `0x` and hexadecimal digits"
    private static let node = "a number, decimal; -1 if no node has CPUs"
    private static let bytes = "bytes, decimal"
    private static let empty = "an empty line"

    private static func uevent(_ reads: String) -> ManualPage {
        ManualPage(
            reads: reads,
            writes:
                "`ACTION [UUID [KEY=VALUE]…]`, ACTION one of add, remove, change, move, online, offline, bind, unbind",
            errors: ["EINVAL": "unknown action, a malformed UUID, or a key or value that is not alphanumeric"],
            text: "The event appears in sys/kernel/cdm/uevents, with these variables.",
            linux: "drivers/base/core.c; Documentation/ABI/testing/sysfs-uevent")
    }

    private static let links = ManualPage(summary: "The device.")

    /// The devices on their buses: sys/devices/pciDDDD:BB, sys/bus/{pci,dax,cxl}, sys/module and sys/dev.
    static let faces: [Chapter] = pci + dax + cxl

    private static let pci: [Chapter] = [
        Chapter(
            "sys/devices/pciDDDD:BB", summary: "A PCI root bus with coherent devices.",
            linux: "drivers/pci/probe.c"),
        Chapter(
            "sys/devices/pciDDDD:BB/DDDD:BB:DD.F",
            summary: "A coherent device as a PCI device; the topology says its address and ids.",
            text:
                "It is there as long as the node of its memory: it disappears if the device is removed or its link is down, and `rescan` brings it back. In `cdmfs run` it is in /sys, in place of the host's PCI devices.",
            linux: "drivers/pci/pci-sysfs.c; Documentation/ABI/testing/sysfs-bus-pci",
            [
                "class": ManualPage(reads: number),
                "config": ManualPage(reads: "256 bytes"),
                "consistent_dma_mask_bits": ManualPage(reads: "`64`"),
                "device": ManualPage(reads: number),
                "dma_mask_bits": ManualPage(reads: "`64`"),
                "enable": ManualPage(reads: "`1`"),
                "irq": ManualPage(reads: "`0`"),
                "local_cpulist": ManualPage(
                    reads: "a list of CPU numbers, `0-3,8`; an empty line if there are none"),
                "local_cpus": ManualPage(reads: "a mask"),
                "modalias": ManualPage(reads: "`pci:v…d…sv…sd…bc…sc…i…`"),
                "numa_node": ManualPage(
                    reads: node,
                    text:
                        "As in Linux, the node to which the device is attached, not the one of its memory: that is target_node of its DAX device, and numa_node of its directory in sys/class/cdm."
                ),
                "resource": ManualPage(reads: "13 lines `START END FLAGS`, all 0"),
                "revision": ManualPage(reads: number),
                "subsystem_device": ManualPage(reads: number),
                "subsystem_vendor": ManualPage(reads: number),
                "vendor": ManualPage(reads: number),
                "remove": removal,
                "driver": ManualPage(summary: "The driver of the device."),
                "uevent": uevent(
                    "lines `NAME=VALUE`: DRIVER, PCI_CLASS, PCI_ID, PCI_SUBSYS_ID, PCI_SLOT_NAME, MODALIAS"),
            ]),
        Chapter(
            "sys/bus/pci", summary: "The PCI bus: its devices and its drivers.", linux: "drivers/pci/pci-driver.c",
            [
                "rescan": ManualPage(
                    writes: "`1`",
                    errors: ["EINVAL": "unknown word", "EBUSY": "a device is being removed"],
                    text: "The same as sys/class/cdm/rescan.", linux: "drivers/pci/pci-sysfs.c, rescan")
            ]),
        Chapter("sys/bus/pci/slots", summary: "Slots of PCI devices: none.", linux: "drivers/pci/slot.c"),
        Chapter(
            "sys/bus/pci/devices", summary: "A link to each device of the bus.", linux: "drivers/base/bus.c",
            ["DDDD:BB:DD.F": links]),
        Chapter(
            "sys/bus/pci/drivers", "sys/bus/dax/drivers", "sys/bus/cxl/drivers", summary: "The drivers of the bus.",
            linux: "drivers/base/bus.c"),
        Chapter(
            "sys/bus/pci/drivers/cdm", summary: "The driver of coherent devices on the PCI bus.",
            text: "It has its devices for as long as they are there: there is no bind and no unbind.",
            linux: "suppress_bind_attrs of drivers/base/bus.c", ["DDDD:BB:DD.F": links]),
        Chapter(
            "sys/bus/pci/drivers/cxl_pci", summary: "The driver of devices on the CXL bus, as PCI devices.",
            text: "It has its devices for as long as they are there: there is no bind and no unbind.",
            linux: "drivers/cxl/pci.c", ["DDDD:BB:DD.F": links]),
        Chapter("sys/dev", summary: "The devices by their numbers.", linux: "/sys/dev"),
        Chapter("sys/dev/char", summary: "The device files by their numbers.", linux: "/sys/dev/char"),
        Chapter(
            "sys/dev/char/0:0", summary: "The files of dev/, which all have the number 0:0.",
            text:
                "A device file of this mount is an ordinary file, so that it can be mapped without a driver of the host. daxctl asks for the bus of /dev/daxN.0 here.",
            linux: "/sys/dev/char", ["subsystem": ManualPage(summary: "The bus of the DAX devices.")]),
    ]

    private static let driverErrors: KeyValuePairs<String, String> = [
        "ENODEV": "there is no such device, or the driver is not for it before `new_id`",
        "EBUSY": "the device has a driver, or is being changed", "ENXIO": "the device has no memory",
    ]

    private static let dax: [Chapter] = [
        Chapter(
            "sys/devices/pciDDDD:BB/DDDD:BB:DD.F/dax_region", region + "/dax_regionN/dax_region",
            summary: "The memory of a device as a DAX region.", text: "One DAX device has all of it.",
            linux: "drivers/dax/bus.c; Documentation/ABI/testing/sysfs-bus-dax",
            [
                "align": ManualPage(reads: bytes),
                "available_size": ManualPage(reads: "`0`"),
                "create": ManualPage(
                    reads: empty, writes: "`1`",
                    errors: ["EINVAL": "not 1", "ERANGE": "out of range", "ENOSPC": "no bytes are available"]),
                "delete": ManualPage(
                    writes: "the name of a DAX device of the region",
                    errors: ["ENXIO": "no such device", "EBUSY": "the first device of a region stays"]),
                "id": ManualPage(reads: "a number, decimal"),
                "seed": ManualPage(reads: empty),
                "size": ManualPage(reads: bytes),
            ]),
        Chapter(
            "sys/devices/pciDDDD:BB/DDDD:BB:DD.F/daxN.0", region + "/dax_regionN/daxN.0",
            summary: "The memory of a device as a DAX device.",
            text:
                "Its driver has the memory. device_dax: only the device file hands it out (isolation `driver`). kmem: it belongs to the node, in memory blocks, under any other isolation. Without a driver it is out of use, and has no memory blocks.",
            linux: "drivers/dax/bus.c; Documentation/ABI/testing/sysfs-bus-dax",
            [
                "align": ManualPage(
                    reads: bytes, writes: "the same number",
                    errors: [
                        "EINVAL": "not a number, or another alignment", "ERANGE": "more than 64 bits",
                        "EBUSY": "the device has a driver",
                    ]),
                "mapping": ManualPage(
                    writes: "`START-END`, physical addresses in hexadecimal",
                    errors: [
                        "EINVAL": "malformed", "ERANGE": "more than 64 bits",
                        "ENXIO": "the length is not a multiple of 2 MiB", "ENOMEM": "no bytes are available",
                    ]),
                "modalias": ManualPage(reads: "`dax:t0`"),
                "numa_node": ManualPage(reads: node),
                "resource": ManualPage(reads: "an address, `0x` and hexadecimal digits"),
                "size": ManualPage(
                    reads: bytes, writes: "bytes",
                    errors: [
                        "EINVAL": "not a number, or not a multiple of 2 MiB", "ERANGE": "more than 64 bits",
                        "EBUSY": "the device has a driver", "ENOSPC": "more than the region has",
                        "EOPNOTSUPP": "less than the region has: a region is not divided",
                    ]),
                "target_node": ManualPage(reads: "a number, decimal"),
                "driver": ManualPage(summary: "The driver of the device; absent while it has none."),
                "uevent": uevent("lines `NAME=VALUE`: DRIVER, MODALIAS"),
            ]),
        Chapter(
            "sys/devices/pciDDDD:BB/DDDD:BB:DD.F/daxN.0/mapping0", region + "/dax_regionN/daxN.0/mapping0",
            summary: "The physical range of a DAX device.",
            linux: "drivers/dax/bus.c; Documentation/ABI/testing/sysfs-bus-dax",
            [
                "end": ManualPage(reads: "an address, `0x` and hexadecimal digits"),
                "page_offset": ManualPage(reads: "`0`"),
                "start": ManualPage(reads: "an address, `0x` and hexadecimal digits"),
            ]),
        Chapter(
            "sys/bus/dax", summary: "The bus of DAX devices: its devices and its drivers.",
            linux: "drivers/dax/bus.c"),
        Chapter(
            "sys/bus/dax/devices", summary: "A link to each device of the bus.", linux: "drivers/base/bus.c",
            ["daxN.0": links]),
        Chapter(
            "sys/bus/dax/drivers/device_dax", "sys/bus/dax/drivers/kmem",
            summary: "A driver that can have the memory of devices.",
            text:
                "device_dax: only the device file hands the memory out. kmem: the memory belongs to the node. `daxctl reconfigure-device` changes the driver with these files, and a write of nodeN/cdm/isolation does.",
            linux: "drivers/dax/device.c; drivers/dax/kmem.c",
            [
                "bind": ManualPage(
                    writes: "the name of a DAX device", errors: driverErrors,
                    text:
                        "kmem: the memory blocks are new, in the state of auto_online_blocks, and the node has the isolation that it had before; `none` if the topology says `driver`. device_dax: the isolation is `driver`. The memory is zeroed."
                ),
                "new_id": ManualPage(
                    writes: "a name `daxX.Y`",
                    errors: ["EINVAL": "not such a name", "ENOMEM": "the driver has 4096 ids"],
                    text: "If a device of this name has no driver, it is bound. If that fails, the name stays."),
                "remove_id": ManualPage(writes: "a name `daxX.Y`", errors: ["EINVAL": "not such a name"]),
                "unbind": ManualPage(
                    writes: "the name of a DAX device",
                    errors: [
                        "ENODEV": "the driver does not have such a device",
                        "EBUSY":
                            "kmem: a memory block is online; device_dax: the device file has pages; or the device is being changed",
                    ],
                    text:
                        "The memory blocks disappear. Linux unbinds kmem even if a block is online, and the memory is then lost until the next boot; here that is EBUSY."
                ),
                "module": ManualPage(summary: "The module of the driver."),
                "daxN.0": ManualPage(summary: "A device that the driver has."),
            ]),
        Chapter(
            "sys/module", summary: "The modules of the drivers of DAX devices.", linux: "/sys/module"),
        Chapter(
            "sys/module/device_dax", "sys/module/kmem", summary: "A module, which is loaded.",
            text: "daxctl loads the module of a driver before it uses the driver; here it finds it loaded.",
            linux: "kernel/module/sysfs.c; Documentation/ABI/testing/sysfs-module",
            ["initstate": ManualPage(reads: "`live`")]),
        Chapter(
            "sys/module/device_dax/drivers", "sys/module/kmem/drivers", summary: "The drivers of the module.",
            linux: "drivers/base/module.c",
            [
                "dax:device_dax": ManualPage(summary: "The driver."), "dax:kmem": ManualPage(summary: "The driver."),
            ]),
    ]

    private static let memoryDevice = "sys/devices/pciDDDD:BB/DDDD:BB:DD.F/memN"
    private static let root = "sys/devices/platform/ACPI0017:00/root0"
    private static let window = root + "/decoderN.M"
    private static let region = window + "/regionN"
    private static let cxlSources = "drivers/cxl/core; Documentation/ABI/testing/sysfs-bus-cxl"

    private static let objects: [String: ManualPage] = [
        "devtype": ManualPage(reads: "a word, as in Linux"), "modalias": ManualPage(reads: "`cxl:tN`"),
        "uevent": uevent("lines `NAME=VALUE`: DEVTYPE, DRIVER, MODALIAS"),
    ]

    private static func chapter(
        _ places: String..., summary: String, text: String = "", _ pages: [String: ManualPage]
    ) -> Chapter {
        Chapter(places, summary: summary, text: text, linux: cxlSources, pages.merging(objects) { page, _ in page })
    }

    private static let driver = ManualPage(summary: "The driver of the device.")
    private static let address = ManualPage(reads: "an address, `0x` and hexadecimal digits")
    private static let size = ManualPage(reads: "bytes, `0x` and hexadecimal digits")

    private static let cxl: [Chapter] = [
        Chapter(
            memoryDevice, summary: "A device on the CXL bus as a memory device.",
            text:
                "Only for nodes with `bus = \"cxl\"`. The device has no mailbox, so that what Linux reads through it is empty.",
            linux: "drivers/cxl/core/memdev.c; Documentation/ABI/testing/sysfs-bus-cxl",
            [
                "firmware_version": ManualPage(reads: empty),
                "label_storage_size": ManualPage(reads: empty),
                "numa_node": ManualPage(reads: node),
                "payload_max": ManualPage(reads: empty),
                "serial": ManualPage(reads: number),
                "driver": driver,
                "uevent": uevent("lines `NAME=VALUE`: DEVTYPE, DRIVER, MODALIAS"),
            ]),
        Chapter(
            memoryDevice + "/ram", memoryDevice + "/pmem",
            summary: "The volatile or the persistent memory of the device.", linux: cxlSources, ["size": size]),
        Chapter(
            memoryDevice + "/security", summary: "The security of the device.", linux: cxlSources,
            ["state": ManualPage(reads: "`disabled`")]),
        Chapter(
            "sys/devices/platform", summary: "Devices that the firmware describes.", linux: "/sys/devices/platform"),
        Chapter(
            "sys/devices/platform/ACPI0017:00", summary: "The object of the firmware for the CXL bus.",
            linux: "drivers/cxl/acpi.c"),
        chapter(
            root, summary: "The root of the CXL bus.",
            text:
                "It has a window of physical addresses and an endpoint for each device. Devices are attached without switches, windows are fixed, and each has one region: regions cannot be made or deleted.",
            [
                "decoders_committed": ManualPage(reads: "a number, decimal"),
                "dportN": ManualPage(summary: "The PCI root bus of a device."),
                "uport": ManualPage(summary: "The object of the firmware."),
            ]),
        chapter(
            window, root + "/endpointN/decoderN.M",
            summary: "A range of physical addresses: a window of the root, or the memory of a device.",
            [
                "interleave_granularity": ManualPage(reads: bytes),
                "interleave_ways": ManualPage(reads: "`1`"),
                "locked": ManualPage(reads: "`1`"),
                "size": size, "start": address,
                "cap_pmem": ManualPage(reads: "`0`"), "cap_ram": ManualPage(reads: "`1`"),
                "cap_type2": ManualPage(reads: "`1`"), "cap_type3": ManualPage(reads: "`1`"),
                "target_list": ManualPage(reads: "a number, N of dportN"),
                "dpa_resource": address, "dpa_size": size,
                "mode": ManualPage(reads: "`ram`"), "region": ManualPage(reads: "a name"),
                "target_type": ManualPage(reads: "`expander`"),
            ]),
        chapter(
            root + "/endpointN", summary: "The port of a memory device.",
            [
                "decoders_committed": ManualPage(reads: "a number, decimal"),
                "uport": ManualPage(summary: "The memory device."),
                "parent_dport": ManualPage(summary: "The PCI root bus of the device."),
                "driver": driver,
            ]),
        chapter(
            region, summary: "The memory of a device in its window.",
            [
                "commit": ManualPage(reads: "`1`"),
                "interleave_granularity": ManualPage(reads: bytes),
                "interleave_ways": ManualPage(reads: "`1`"),
                "mode": ManualPage(reads: "`ram`"),
                "resource": address, "size": size,
                "target0": ManualPage(reads: "a name"),
                "uuid": ManualPage(reads: empty),
                "driver": driver,
            ]),
        chapter(region + "/dax_regionN", summary: "The region for DAX.", ["driver": driver]),
        Chapter(
            "sys/bus/cxl", summary: "The CXL bus: its devices and its drivers.", linux: "drivers/cxl/core/port.c"),
        Chapter(
            "sys/bus/cxl/devices", summary: "A link to each device of the bus.", linux: "drivers/base/bus.c",
            [
                "memN": links, "root0": links, "endpointN": links, "decoderN.M": links, "regionN": links,
                "dax_regionN": links,
            ]),
        Chapter(
            "sys/bus/cxl/drivers/cxl_mem", "sys/bus/cxl/drivers/cxl_port", "sys/bus/cxl/drivers/cxl_region",
            "sys/bus/cxl/drivers/cxl_dax_region",
            summary: "A driver of the CXL bus.", linux: "drivers/cxl",
            ["memN": links, "endpointN": links, "regionN": links, "dax_regionN": links]),
    ]
}
