import Foundation
import SystemPackage
import Testing

private let memory = "sys/devices/system/memory"

extension TestMount {
    /// Expects that no file of the tree contradicts another, while nobody changes anything.
    func expectAgreement(_ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) throws {
        func equal<Value: Equatable>(_ left: Value, _ right: Value, _ what: String) {
            #expect(left == right, "\(what) \(comment?.rawValue ?? "")", sourceLocation: sourceLocation)
        }
        let online = try nodes()
        equal(try numbers("node", in: "sys/devices/system/node"), online, "directories and online")
        equal(try numbers("node", in: "sys/bus/node/devices"), online, "bus and online")
        #expect(Set(try list("possible")).isSuperset(of: online), comment, sourceLocation: sourceLocation)

        let blockKilobytes = try blockSize() >> 10
        let blocks = try numbers("memory", in: memory)
        equal(try numbers("memory", in: "sys/bus/memory/devices"), blocks, "blocks of the bus")
        var owners: [Int: Int] = [:]
        var members: [String: [Int]] = [:]
        var cpus: [Int] = []
        let placed = try placements()
        for id in online {
            let folder = "sys/devices/system/node/node\(id)"
            var available = 0
            var isNormal = false
            for number in try numbers("memory", in: folder) {
                owners[number] = id
                equal(try target("\(folder)/memory\(number)"), "../../memory/memory\(number)", "memory\(number)")
                equal(try numbers("node", in: "\(memory)/memory\(number)"), [id], "memory\(number)")
                equal(try target("\(memory)/memory\(number)/node\(id)"), "../../node/node\(id)", "memory\(number)")
                let state = try word("\(memory)/memory\(number)/state")
                equal(try word("\(memory)/memory\(number)/online"), state == "offline" ? "0" : "1", "memory\(number)")
                if state == "offline" { continue }
                available += 1
                if try word("\(memory)/memory\(number)/valid_zones") == "Normal" { isNormal = true }
            }
            let figures = try meminfo(id), vmstat = try vmstat(id)
            equal(figures["MemTotal"], available * blockKilobytes, "node\(id) MemTotal")
            equal(figures["MemUsed"]! + figures["MemFree"]!, figures["MemTotal"]!, "node\(id) MemUsed")
            equal(vmstat["nr_free_pages"]! * 4, figures["MemFree"]!, "node\(id) free")
            equal(vmstat["nr_file_pages"]! * 4, figures["FilePages"]!, "node\(id) FilePages")
            equal(figures["Active"]! + figures["Inactive"]!, figures["FilePages"]!, "node\(id) lists")
            let pressure = try values("sys/kernel/cdm/pressure/node\(id)")
            equal(pressure["active"]! * 4, figures["Active"]!, "node\(id) active")
            equal(pressure["inactive"], vmstat["nr_inactive_file"], "node\(id) inactive")
            equal(pressure["demoted"], vmstat["pgdemote_kswapd"]! + vmstat["pgdemote_proactive"]!, "node\(id) demoted")
            let pool = figures["HugePages_Total"]! - figures["HugePages_Free"]!
            equal(placed[id, default: 0] * 4, figures["FilePages"]! + pool * 2048, "node\(id) placements")
            equal(vmstat["nr_hugetlb"], pool * 512, "node\(id) huge pages")
            for (name, key) in [("nr", "Total"), ("free", "Free"), ("surplus", "Surp")] {
                let file = "\(folder)/hugepages/hugepages-2048kB/\(name)_hugepages"
                equal(try word(file), "\(figures["HugePages_\(key)"]!)", file)
            }

            if available > 0 { members["has_memory", default: []].append(id) }
            if isNormal { members["has_normal_memory", default: []].append(id) }
            let local = try parseList(word("\(folder)/cpulist"))
            if !local.isEmpty { members["has_cpu", default: []].append(id) }
            equal(try numbers("cpu", in: folder), local, "node\(id) CPUs")
            for cpu in local {
                equal(try target("\(folder)/cpu\(cpu)"), "../../cpu/cpu\(cpu)", "cpu\(cpu)")
                equal(try target("sys/devices/system/cpu/cpu\(cpu)/node\(id)"), "../../node/node\(id)", "cpu\(cpu)")
            }
            cpus += local
            if let device = try? target("\(folder)/cdm/device") {
                members["is_cdm_node", default: []].append(id)
                members["is_coherent_device", default: []].append(id)
                let name = try #require(FilePath(device).lastComponent?.string)
                equal(try word("sys/class/cdm/\(name)/numa_node"), "\(id)", name)
                equal(try word("sys/class/cdm/\(name)/state"), available > 0 ? "online" : "offline", name)
            }
            let distances = try word("\(folder)/distance").split(separator: " ").map { Int($0) }
            equal(distances.count, online.count, "node\(id) distances")
            equal(distances[online.firstIndex(of: id)!], 10, "node\(id) distance to itself")
        }
        equal(owners.keys.sorted(), blocks, "blocks of all nodes")
        equal(try numbers("cpu", in: "sys/devices/system/cpu"), cpus.sorted(), "CPUs")
        equal(try parseList(word("sys/devices/system/cpu/online")), cpus.sorted(), "CPUs online")
        for name in ["has_memory", "has_normal_memory", "has_cpu", "is_cdm_node", "is_coherent_device"] {
            equal(try list(name), members[name] ?? [], name)
        }
    }

    /// Pages that buffers and device files have on a node.
    func pagesPlaced(on node: Int) throws -> Int { try placements()[node, default: 0] }

    private func list(_ name: String) throws -> [Int] { try parseList(word("sys/devices/system/node/\(name)")) }

    /// Pages of all buffers and device files by node.
    private func placements() throws -> [Int: Int] {
        let buffers = try FileManager.default.contentsOfDirectory(atPath: path + "/buffers").map { control($0) }
        let devices = try FileManager.default.contentsOfDirectory(atPath: path + "/sys/class/cdm")
            .filter { $0.hasPrefix("cdm") }.map { "sys/class/cdm/\($0)/buffer" }
        var total: [Int: Int] = [:]
        for control in buffers + devices {
            let words = try word(control + "/placement").split(separator: " ")
            var resident = 0
            for pair in words.map({ $0.dropFirst().split(separator: "=") }) {
                let pages = Int(pair[1])!
                total[Int(pair[0])!, default: 0] += pages
                resident += pages
            }
            #expect(try word(control + "/resident") == "\(resident * 4096)", "\(control)")
        }
        return total
    }
}
