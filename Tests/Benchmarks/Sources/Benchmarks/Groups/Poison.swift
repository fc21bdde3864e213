import Clients
import Foundation

extension Group {
    /// Pages that go bad under a program that maps them.
    static let poison: Group = Group(name: "poison", title: "Poison", columns: []) { stage, body in
        try stage.withSites([.tracked, .direct]) { sites in
            for site in sites {
                let bytes = 64 << 20
                guard FileManager.default.createFile(atPath: site.file("policy"), contents: nil) else {
                    throw Failure(site.file("policy"))
                }
                try body([
                    Trial(
                        [
                            Row(
                                "poison of a page of 64 MiB that is mapped and dirty", .microseconds,
                                .ratio(site.contestant, to: store))
                        ],
                        [
                            Trial.Entrant(contestant: store) {
                                [
                                    try Summary(
                                        (0..<256).map { _ in try command(site.control("policy", "policy"), "default\n")
                                        }
                                    )
                                    .median * 1e6
                                ]
                            },
                            Trial.Entrant(contestant: site.contestant) { [try poison(site, bytes) * 1e6] },
                        ])
                ])
            }
        }
    }

    private static let store = Contestant("our write of an attribute")

    /// The middle of the seconds that pages of the device take.
    private static func poison(_ site: Site, _ bytes: Int) throws -> Double {
        let debug = site.path + "/sys/kernel/debug/cdm/cdm0/"
        let name = "poisoned"
        guard FileManager.default.createFile(atPath: site.file(name), contents: nil) else {
            throw Failure(site.file(name))
        }
        try command(site.control(name, "policy"), "bind:1\n")
        return try unsafe site.withMapping(name, bytes) { mapped, _ in
            _ = try timed(site.path) { unsafe clients_store(mapped, bytes, 1, 0, &$0) }
            let addresses = try deviceAddresses(site, name, 64).map { "0x\(String($0, radix: 16))\n" }
            let seconds = try addresses.map { try command(debug + "inject_poison", $0) }
            for address in addresses { try command(debug + "clear_poison", address) }
            return Summary(seconds).median
        }
    }

    /// Where on its device every other page of a buffer is, so many of them. A run ends where the flags of its pages do, which
    /// the kernel's write-back changes in its own time.
    private static func deviceAddresses(_ site: Site, _ name: String, _ count: Int) throws -> [Int] {
        let file = site.control(name, "pages")
        var addresses: [Int] = []
        for line in try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count >= 4, let length = Int(words[1].dropFirst(2), radix: 16),
                let physical = Int(words[3].dropFirst(2), radix: 16)
            else { throw Failure("\(file): \(line)") }
            // The device of the default machine begins where its 4 GiB of RAM end.
            addresses += stride(from: physical, to: physical + length, by: 8192).map { $0 - (4 << 30) }
            if addresses.count >= count { return Array(addresses.prefix(count)) }
        }
        throw Failure("\(file): \(addresses.count) pages of \(count)")
    }
}
