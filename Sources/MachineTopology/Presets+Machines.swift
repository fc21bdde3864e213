/// Machines that exist. A comment of each says where its figures come from; those that no source gives are marked as assumed.
/// Latencies are left out where there is no source, and follow from the distance.
extension Topology {
    static let machines: [Preset] = [
        Preset(name: "gh200", toml: graceHopper),
        Preset(name: "power9-ac922", toml: power9),
        Preset(name: "mi300a", toml: mi300a),
        Preset(name: "knl-flat-snc4", toml: knightsLanding),
    ]
}

/// A `[[node]]` of RAM, with the bandwidth in MB/s if a source has one.
private func ram(_ id: Int, _ memory: String, cpus: String, bandwidth: Int? = nil) -> String {
    "\n[[node]]\nid = \(id)\nkind = \"ram\"\nmemory = \"\(memory)\"\ncpus = \"\(cpus)\"\n" + link(bandwidth)
}

private func coherent(_ id: Int, _ memory: String, device: Int, bandwidth: Int? = nil) -> String {
    "\n[[node]]\nid = \(id)\nkind = \"coherent\"\nmemory = \"\(memory)\"\ndevice = \"cdm\(device)\"\n" + link(bandwidth)
}

private func link(_ bandwidth: Int?) -> String {
    bandwidth.map { "[node.link]\nread_bandwidth = \($0)\nwrite_bandwidth = \($0)\n" } ?? ""
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
    # driver makes for parts of the GPU are left out. Assumed: the distance, 80.
    #
    #     node 0  RAM 480G, CPUs 0-71  --- 80 ---  node 1  coherent 96G, cdm0
    block_size = "1G"

    """ + ram(0, "480G", cpus: "0-71") + coherent(1, "96G", device: 0, bandwidth: 450_000) + distance(0, 1, 80)

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
    text += gpus.map { coherent($0.id, "15G", device: $0.device) }.joined()
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
    for cluster in 4..<8 { text += ram(cluster, "4G", cpus: "") }
    for node in 0..<8 {
        for other in node + 1..<8 {
            let isOwn = other == node + 4
            let isFar = other >= 4 && node < 4
            text += distance(node, other, isOwn ? 31 : isFar || node >= 4 ? 41 : 21)
        }
    }
    return text
}()
