import CHwloc
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// What hwloc reads. One at a time: it reads settings from the environment.
extension TopologyDraft {
    /// Reads a source with hwloc.
    ///
    /// - Parameters:
    ///   - source: its name, for errors and the first line.
    ///   - root: the directory whose sys/ is read in place of the host's; nil for none.
    ///   - choose: tells hwloc what to read; negative for what it does not accept.
    static func read(
        _ source: String, root: FilePath? = nil, _ choose: (hwloc_topology_t) -> Int32
    ) throws(ImportError) -> TopologyDraft {
        var settings = [
            // It would print a page about a source with an error in it.
            "HWLOC_HIDE_ERRORS": "2",
            // The nodes of GPUs, which are of no use to who places threads, are what this is about.
            "HWLOC_KEEP_NVIDIA_GPU_NUMA_NODES": "1",
        ]
        if let root {
            settings["HWLOC_FSROOT"] = root.string
            // The CPU of this host would be asked, too.
            settings["HWLOC_COMPONENTS"] = "linux,stop"
        }
        for (name, value) in settings { unsafe setenv(name, value, 1) }
        defer { for name in settings.keys { unsafe unsetenv(name) } }
        guard let topology = unsafe chwloc_make() else {
            throw ImportError(.data, source, "hwloc has no memory")
        }
        defer { unsafe hwloc_topology_destroy(topology) }
        guard unsafe choose(topology) >= 0, unsafe hwloc_topology_load(topology) >= 0 else {
            throw ImportError(.data, source, "hwloc does not accept it")
        }
        return unsafe TopologyDraft(topology, source)
    }

    private init(_ topology: hwloc_topology_t, _ source: String) {
        var nodes: [Node] = []
        var omissions: [String] = []
        var extraInitiators = 0
        var place: UInt32 = 0
        while let node = unsafe chwloc_node(topology, place) {
            unsafe nodes.append(Node(node, in: topology))
            let counts = [HWLOC_MEMATTR_ID_BANDWIDTH, HWLOC_MEMATTR_ID_LATENCY].map {
                unsafe chwloc_initiators(topology, hwloc_memattr_id_t($0.rawValue), node)
            }
            extraInitiators += max(0, Int(counts.max() ?? 0) - 1)
            place += 1
        }
        if extraInitiators > 0 { omissions.append("performance for CPUs that are not the nearest") }
        omissions += unsafe Self.omissions(of: topology)
        self.init(origin: source, nodes: nodes, ownsCPUs: false, omissions: omissions)
        unsafe readDistances(of: topology)
    }

    private mutating func readDistances(of topology: hwloc_topology_t) {
        let matrices = unsafe chwloc_distances_count(topology)
        var others = Int(matrices)
        if let matrix = unsafe chwloc_distances(topology) {
            defer { unsafe hwloc_distances_release(topology, matrix) }
            let count = unsafe Int(matrix.pointee.nbobjs)
            let ids = (0..<count).map { place in unsafe Int(matrix.pointee.objs[place]?.pointee.os_index ?? .max)
            }
            let places = nodes.map { ids.firstIndex(of: $0.id) }
            // Without a row for each node it says nothing of some.
            if !places.contains(nil) {
                distances = places.map { row in
                    places.map { column in unsafe UInt64(matrix.pointee.values[row! * count + column!]) }
                }
                others -= 1
            }
        }
        if others > 0 { omissions.append("\(others) matrices of distances that are not the latencies between nodes") }
    }

    /// What of the CPUs and devices a topology does not have.
    private static func omissions(of topology: hwloc_topology_t) -> [String] {
        var omissions: [String] = []
        func count(_ type: hwloc_obj_type_t) -> Int { unsafe Int(chwloc_count(topology, type)) }
        let caches = [HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L4CACHE, HWLOC_OBJ_L5CACHE]
            .reduce(0) { $0 + count($1) }
        let structure: [String] = [
            (count(HWLOC_OBJ_PACKAGE), "packages"), (count(HWLOC_OBJ_DIE), "dies"), (caches, "caches"),
            (count(HWLOC_OBJ_CORE), "cores"),
        ].filter { $0.0 > 0 }.map { "\($0.0) \($0.0 == 1 ? String($0.1.dropLast()) : $0.1)" }
        if !structure.isEmpty {
            omissions.append(
                "the structure of the CPUs (\(structure.joined(separator: ", "))): the CPUs of a node are the cores of a package"
            )
        }
        let devices = [(count(HWLOC_OBJ_PCI_DEVICE), "PCI devices"), (count(HWLOC_OBJ_OS_DEVICE), "other devices")]
            .filter { $0.0 > 0 }.map { "\($0.0) \($0.0 == 1 ? String($0.1.dropLast()) : $0.1)" }
        if !devices.isEmpty { omissions.append(devices.joined(separator: " and ")) }
        return omissions
    }
}

extension TopologyDraft.Node {
    fileprivate init(_ node: hwloc_obj_t, in topology: hwloc_topology_t) {
        unsafe self.init(
            id: Int(node.pointee.os_index), memory: chwloc_node_memory(node),
            cpus: Self.set(unsafe chwloc_list(node.pointee.complete_cpuset)))
        func info(_ name: String) -> String? {
            unsafe chwloc_info(node, name).map { unsafe String(cString: $0).printable }
        }
        memoryKind = unsafe node.pointee.subtype.map { unsafe String(cString: $0).printable } ?? info("MemoryTier")
        deviceReason =
            if let memoryKind, memoryKind.hasPrefix("GPUMemory") {
                "hwloc says that it is memory of a GPU" + (info("PCIBusID").map { ", \($0)" } ?? "")
            } else if let device = info("DAXDevice") {
                "hwloc says that it is the DAX device \(device)"
            } else if let device = info("CXLDevice") {
                "hwloc says that it is the CXL device \(device)"
            } else if memoryKind?.hasPrefix("CXL") == true {
                "hwloc says that it is memory of a CXL device"
            } else {
                nil
            }
        func best(_ attributes: hwloc_memattr_id_e...) -> UInt64? {
            for attribute in attributes {
                let value = unsafe chwloc_best(topology, hwloc_memattr_id_t(attribute.rawValue), node)
                if value > 0 { return value }
            }
            return nil
        }
        link["read_latency"] = best(HWLOC_MEMATTR_ID_READ_LATENCY, HWLOC_MEMATTR_ID_LATENCY)
        link["write_latency"] = best(HWLOC_MEMATTR_ID_WRITE_LATENCY, HWLOC_MEMATTR_ID_LATENCY)
        link["read_bandwidth"] = best(HWLOC_MEMATTR_ID_READ_BANDWIDTH, HWLOC_MEMATTR_ID_BANDWIDTH)
        link["write_bandwidth"] = best(HWLOC_MEMATTR_ID_WRITE_BANDWIDTH, HWLOC_MEMATTR_ID_BANDWIDTH)
        var found: [MemorySideCache] = []
        while let cache = unsafe chwloc_memory_side_cache(node, UInt32(found.count)), found.count < 255 {
            let (size, line) = unsafe (chwloc_cache_size(cache), chwloc_cache_line(cache))
            guard size > 0 else { break }
            let ways = unsafe chwloc_cache_ways(cache)
            found.append(
                MemorySideCache(
                    level: found.count + 1, size: size,
                    lineSize: line.nonzeroBitCount == 1 && line <= 32768 ? Int(line) : 64,
                    indexing: ways == 1 ? .direct : ways > 1 ? .indexed : .other))
        }
        caches = found
    }

    /// The CPUs of a list of hwloc's, which is freed; those alone that a machine can have.
    private static func set(_ list: UnsafeMutablePointer<CChar>?) -> IDSet {
        guard let list = unsafe list else { return [] }
        defer { unsafe free(list) }
        var set = IDSet()
        for part in unsafe String(cString: list).split(separator: ",") {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard let first = ends.first ?? nil, first < IDSet.maxCPUs else { continue }
            // A set without an end is one of a machine whose CPUs are not counted.
            let last = ends.count > 1 ? ends[1] ?? first : first
            guard last >= first else { continue }
            set.formUnion(IDSet(first..<min(last + 1, IDSet.maxCPUs)))
        }
        return set
    }
}

extension String {
    /// The text for a comment of one line.
    fileprivate var printable: String {
        String(unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }.map(Character.init))
    }
}
