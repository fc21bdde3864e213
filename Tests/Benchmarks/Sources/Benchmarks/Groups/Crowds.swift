import Clients
import Foundation

extension Group {
    /// Many who use one file, or each their own.
    static let crowds: Group = Group(
        name: "crowds", title: "16 threads and 1,000 processes",
        columns: [.tmpfs, .tracked, .classic, .direct, .memfs], isUsual: false
    ) { stage, body in
        try stage.withSites(crowds.columns) { sites in
            let bytes = 64 << 20
            func threads(_ title: String, files: Int, threads: Int) -> Trial {
                Trial([Row(title, .microseconds, .ratio(.tracked, to: .tmpfs), .ratio(.tracked, to: .memfs))], sites) {
                    site in
                    defer { for file in 0..<files { try? site.remove("crowd\(file)") } }
                    let seconds = try timed(site.path) {
                        unsafe clients_touch_by_threads(site.file("crowd"), bytes, Int32(files), Int32(threads), &$0)
                    }
                    return [seconds * 1e6 / Double(bytes >> 12)]
                }
            }
            func processes(_ title: String, _ count: Int) -> Trial {
                Trial([Row(title, .microseconds, .ratio(.tracked, to: .tmpfs), .ratio(.tracked, to: .memfs))], sites) {
                    site in
                    defer { try? site.remove("crowd") }
                    let seconds = try timed(site.path) {
                        unsafe clients_touch_by_processes(site.file("crowd"), 1 << 20, Int32(count), &$0)
                    }
                    return [seconds * 1e6 / Double(count)]
                }
            }
            try body([
                threads("first touch of a page, at random, 1 thread", files: 1, threads: 1),
                threads("the same, 16 threads in one file, a page of all", files: 1, threads: 16),
                threads("the same, 16 threads, each in a file of its own, a page of all", files: 16, threads: 16),
                processes("100 processes count in each page of one file of 1 MiB and end, a process", 100),
                processes("1,000 processes the same, a process", 1000),
            ])
        }
    }
}
