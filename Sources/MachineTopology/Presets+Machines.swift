/// Machines that exist. A comment of each says where its figures come from; those that no source gives are marked as assumed. PCI ids
/// are those of the PCI ID repository.
/// Latencies are left out where there is no source, and follow from the distance.
extension Topology {
    static let machines: [Preset] = [
        Preset(name: "gh200", toml: graceHopper),
        Preset(name: "gb200", toml: graceBlackwell),
        Preset(name: "power9-ac922", toml: power9),
        Preset(name: "mi300a", toml: mi300a),
        Preset(name: "knl-flat-snc4", toml: knightsLanding),
        Preset(name: "spr-hbm-flat", toml: sapphireRapidsHBM),
        Preset(name: "optane-kmem", toml: optane),
        Preset(name: "cxl-expander", toml: memoryExpanders),
    ]
}

/// A `[[node]]` of RAM, with the figures of its link that a source has.
private func ram(_ id: Int, _ memory: String, cpus: String = "", _ figures: Figures = Figures()) -> String {
    "\n[[node]]\nid = \(id)\nkind = \"ram\"\nmemory = \"\(memory)\"\ncpus = \"\(cpus)\"\n" + figures.toml
}

/// A `[[node]]` of a device; `isolation` is left out where it is the default. `lines` are further keys.
private func coherent(
    _ id: Int, _ memory: String, device: Int, isolation: Isolation = .exclusive, _ figures: Figures = Figures(),
    lines: String = ""
) -> String {
    "\n[[node]]\nid = \(id)\nkind = \"coherent\"\nmemory = \"\(memory)\"\ndevice = \"cdm\(device)\"\n"
        + (isolation == .exclusive ? "" : "isolation = \"\(isolation.rawValue)\"\n") + lines + figures.toml
}

/// The PCI ids of a GPU of NVIDIA, a 3D controller.
private func nvidia(_ device: String) -> String { "vendor = 0x10de\ndevice_id = \(device)\nclass = 0x030200\n" }

/// The figures of a `[node.link]`: latencies in ns, bandwidths in MB/s; those without a source are nil.
private struct Figures {
    var readLatency: Int?
    var writeLatency: Int?
    var readBandwidth: Int?
    var writeBandwidth: Int?

    var toml: String {
        let lines = [
            ("read_latency", readLatency), ("write_latency", writeLatency), ("read_bandwidth", readBandwidth),
            ("write_bandwidth", writeBandwidth),
        ].compactMap { key, value in value.map { "\(key) = \($0)\n" } }
        return lines.isEmpty ? "" : "[node.link]\n" + lines.joined()
    }

    static func bandwidth(_ value: Int) -> Figures { Figures(readBandwidth: value, writeBandwidth: value) }
}

private func distance(_ from: Int, _ to: Int, _ value: Int) -> String {
    "\n[[distance]]\nfrom = \(from)\nto = \(to)\nvalue = \(value)\n"
}

private let graceHopper =
    """
    # NVIDIA GH200 with 480 GB: a Grace CPU, and a Hopper GPU whose memory is a node.
    #
    # Sources: 72 cores, 480 GB of LPDDR5X and 96 GB of HBM3 from the hardware page of the Bede cluster; 450 GB/s in each direction
    # of NVLink-C2C from arXiv 2408.11556, which the GPU's memory cannot exceed for the CPU. The nodes without memory that the
    # driver makes for parts of the GPU are left out. The distance, 80, is that of a machine with four GH200 in issue 224 of
    # numactl/numactl.
    #
    #     node 0  RAM 480G, CPUs 0-71  --- 80 ---  node 1  coherent 96G, cdm0
    block_size = "1G"

    """ + ram(0, "480G", cpus: "0-71") + coherent(1, "96G", device: 0, .bandwidth(450_000), lines: nvidia("0x2342"))
    + distance(0, 1, 80)

private let graceBlackwell: String = {
    let gpus = (0..<4).map { (id: 2 + 8 * $0, device: $0, socket: $0 / 2) }
    var text = """
        # A compute tray of NVIDIA GB200 NVL72: two Grace CPUs with two Blackwell GPUs each. A GPU has eight nodes: one with its
        # memory, and seven without memory for the parts that it can be divided into (MIG).
        #
        # Sources: the numbers of the nodes, and the CPUs of each socket, from the output of `nvidia-smi topo -m` in issue 11208 of
        # sgl-project/sglang; 13.4 TB of HBM3e in the 72 GPUs of a rack, hence 186 GB in each, from NVIDIA's figures for the
        # GB200 NVL72; the distances 40, 80, 120 and 255 (between nodes of GPUs) of a machine with four GH200 from issue 224 of
        # numactl/numactl. Assumed: 480G of LPDDR5X for each CPU and 450 GB/s in each direction of its NVLink-C2C, as of the
        # GH200, the latter shared by two GPUs.
        #
        #     node 0  RAM 480G, CPUs 0-71     --- 40 ---  node 1  RAM 480G, CPUs 72-143
        #       |  80                                       |  80
        #     nodes 2, 10  coherent 173G each             nodes 18, 26  coherent 173G each
        #     nodes 3 to 9, 11 to 17, 19 to 25, 27 to 33  coherent, without memory
        block_size = "1G"

        """
    text += ram(0, "480G", cpus: "0-71") + ram(1, "480G", cpus: "72-143")
    for gpu in gpus {
        text += coherent(gpu.id, "173G", device: gpu.device, .bandwidth(225_000), lines: nvidia("0x2941"))
        for part in 1...7 { text += coherent(gpu.id + part, "0", device: 4 + 7 * gpu.device + part - 1) }
    }
    text += distance(0, 1, 40)
    for gpu in gpus {
        for id in gpu.id..<gpu.id + 8 {
            for socket in 0...1 { text += distance(socket, id, socket == gpu.socket ? 80 : 120) }
            for other in id + 1..<34 { text += distance(id, other, 255) }
        }
    }
    return text
}()

private let power9: String = {
    let gpus = (0..<6).map { (id: 250 + $0, device: $0) }
    var text = """
        # IBM Power System AC922 with six V100: two POWER9, and nodes of GPU memory that count down from 255, as the proposals for
        # coherent device memory have them.
        #
        # Sources: the nodes and their numbers, 15 GiB for each GPU, and the distances 40 and 80 from hwloc's test topology
        # nvidiagpunumanodes; CPUs with four threads a core, those of the second socket in node 8, from "NUMA on POWER9" (Gábor
        # Samu, 2022), which has 16 cores a socket; 512 GB of RAM from the hardware page of the Bede cluster. Performance follows
        # from the distance.
        #
        #     node 0  RAM 256G, CPUs 0-63  --- 40 ---  node 8  RAM 256G, CPUs 64-127
        #     nodes 250 to 255  coherent 15G each, cdm0 to cdm5, at 80 from every node
        block_size = "256M"
        possible = "0-255"

        """
    text += ram(0, "256G", cpus: "0-63") + ram(8, "256G", cpus: "64-127")
    text += gpus.map { coherent($0.id, "15G", device: $0.device, lines: nvidia("0x1db1")) }.joined()
    text += distance(0, 8, 40)
    for (place, gpu) in gpus.enumerated() {
        text += distance(0, gpu.id, 80) + distance(8, gpu.id, 80)
        for other in gpus.dropFirst(place + 1) { text += distance(gpu.id, other.id, 80) }
    }
    return text
}()

private let mi300a: String = {
    var text = """
        # Four AMD Instinct MI300A: the CPU and the GPU of each package share one HBM3, so that no node is a device's.
        #
        # Sources: 24 Zen 4 cores and 128 GB for each package from AMD's MI300A overview (amdgpu-docs), four packages in a machine
        # from arXiv 2508.11298. The peak of the HBM3, 5.3 TB/s, is the GPU's: what the CPU gets of it is left to the distance.
        # Assumed: the distance, 32, and one thread a core.
        #
        #     nodes 0 to 3  RAM 128G, 24 CPUs each, at 32 from each other
        block_size = "256M"

        """
    for package in 0..<4 { text += ram(package, "128G", cpus: "\(24 * package)-\(24 * package + 23)") }
    for package in 0..<4 { for other in package + 1..<4 { text += distance(package, other, 32) } }
    return text
}()

private let knightsLanding: String = {
    var text = """
        # Intel Xeon Phi 7230 in the modes flat and SNC-4: four clusters, each with a node of DDR4 and one of MCDRAM. MCDRAM is
        # ordinary memory without CPUs, so that allocations prefer DDR4.
        #
        # Sources: 64 cores, 192 GB of DDR4 and 16 GB of MCDRAM from "KNL System Overview" of Jefferson Lab; four domains with SNC-4
        # from NERSC's "KNL processor modes". Assumed: four threads a core with the numbers N, N+64, N+128 and N+192; the
        # distances 21 between clusters, 31 to the MCDRAM of the own one and 41 to that of another; performance follows from them,
        # so that MCDRAM has not the bandwidth that it has in the machine.
        #
        #     nodes 0 to 3  RAM 48G, 64 CPUs each; nodes 4 to 7  RAM 4G each
        block_size = "128M"

        """
    for cluster in 0..<4 {
        let cpus = (0..<4).map { "\(16 * cluster + 64 * $0)-\(16 * cluster + 64 * $0 + 15)" }.joined(separator: ",")
        text += ram(cluster, "48G", cpus: cpus)
    }
    for cluster in 4..<8 { text += ram(cluster, "4G") }
    for node in 0..<8 {
        for other in node + 1..<8 {
            let isOwn = other == node + 4
            let isFar = other >= 4 && node < 4
            text += distance(node, other, isOwn ? 31 : isFar || node >= 4 ? 41 : 21)
        }
    }
    return text
}()

private let sapphireRapidsHBM: String = {
    let memory = Figures.bandwidth(280_000)
    let highBandwidth = Figures.bandwidth(1_435_000)
    return """
        # A node of the Aurora supercomputer: two Intel Xeon CPU Max 9470C in the modes flat and quadrant, whose HBM is ordinary
        # memory without CPUs, so that allocations prefer DDR5.
        #
        # Sources: nodes, sizes, CPUs and distances from the output of `numactl -H` in Argonne's user guide (pull request 756 of
        # argonne-lcf/user-guides); the peak bandwidths of the whole machine, 30.5 PB/s of HBM and 5.95 PB/s of DDR5 for 21,248
        # CPUs, from AnandTech's report of ISC 2023. Latencies follow from the distance.
        #
        #     node 0  RAM 512G, CPUs 0-51,104-155  --- 21 ---  node 1  RAM 512G, CPUs 52-103,156-207
        #       |  13                                            |  13
        #     node 2  RAM 64G (HBM)                            node 3  RAM 64G (HBM)
        block_size = "2G"

        """ + ram(0, "512G", cpus: "0-51,104-155", memory) + ram(1, "512G", cpus: "52-103,156-207", memory)
            + ram(2, "64G", highBandwidth) + ram(3, "64G", highBandwidth) + distance(0, 1, 21) + distance(0, 2, 13)
            + distance(0, 3, 23) + distance(1, 2, 23) + distance(1, 3, 13) + distance(2, 3, 23)
}()

private let optane: String = {
    let memory = Figures(readLatency: 305, readBandwidth: 39_400, writeBandwidth: 13_900)
    return """
        # Two sockets with Intel Optane DC persistent memory as slow memory (dax_kmem): hot-added nodes without CPUs, in
        # ZONE_MOVABLE, which reclaim can demote pages to.
        #
        # Sources: six modules of Optane a socket with 39.4 GB/s for reads, 13.9 GB/s for writes and 305 ns for a random load, and
        # 3 TB of it in all, from "Basic Performance Measurements of the Intel Optane DC Persistent Memory Module" (arXiv
        # 1903.05714); the distances 17 and 28 from the test topologies of intel/cri-resource-manager (pull request 359).
        # Assumed: 192G of RAM and 24 CPUs a socket, one thread a core; what is left out follows from the distance.
        #
        #     node 0  RAM 192G, CPUs 0-23  --- 21 ---  node 1  RAM 192G, CPUs 24-47
        #       |  17                                    |  17
        #     node 2  coherent 1536G, cdm0, none       node 3  coherent 1536G, cdm1, none
        block_size = "2G"

        """ + ram(0, "192G", cpus: "0-23") + ram(1, "192G", cpus: "24-47")
            + coherent(2, "1536G", device: 0, isolation: .none, memory)
            + coherent(3, "1536G", device: 1, isolation: .none, memory) + distance(0, 1, 21) + distance(0, 2, 17)
            + distance(0, 3, 28) + distance(1, 2, 28) + distance(1, 3, 17) + distance(2, 3, 28)
}()

private let memoryExpanders: String = {
    let link = Figures(readLatency: 250, writeLatency: 250, readBandwidth: 36_000, writeBandwidth: 36_000)
    return """
        # Two sockets with a CXL memory expander each: nodes without CPUs that every allocation may fall back to.
        #
        # Sources: nodes, sizes, CPUs and distances from the output of `numactl -H` in "How To Map a CXL Endpoint to a CPU Socket
        # in Linux" (Steve Scargall, 2022); 36 GB/s for reads and writes from Micron's figures for the expander CZ120. Assumed: the
        # latency, 250 ns, which is within the two to five times that of local memory which arXiv 2405.14209 measures.
        #
        #     node 0  RAM 64G, CPUs 0-51,104-155    --- 21 ---  node 1  RAM 64G, CPUs 52-103,156-207
        #       |  14                                             |  14
        #     node 2  coherent 64G, cdm0, none                  node 3  coherent 128G, cdm1, none
        block_size = "256M"

        """ + ram(0, "64G", cpus: "0-51,104-155") + ram(1, "64G", cpus: "52-103,156-207")
            + coherent(2, "64G", device: 0, isolation: .none, link, lines: "bus = \"cxl\"\n")
            + coherent(3, "128G", device: 1, isolation: .none, link, lines: "bus = \"cxl\"\n")
            + distance(0, 1, 21) + distance(0, 2, 14) + distance(0, 3, 24) + distance(1, 2, 24) + distance(1, 3, 14)
            + distance(2, 3, 26)
}()
