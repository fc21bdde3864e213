import Foundation

/// The machine that measures.
enum Host {
    static var description: String {
        let processors = ProcessInfo.processInfo.activeProcessorCount
        let memory = Double(ProcessInfo.processInfo.physicalMemory) / Double(1 << 30)
        return
            "\(model), \(processors) CPUs, \(String(format: "%.0f", memory)) GiB, Linux \(read("/proc/sys/kernel/osrelease"))"
            + "; load when it began \(read("/proc/loadavg").split(separator: " ").first ?? "unknown")"
    }

    private static var model: String {
        let line = read("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        guard let name = line?.split(separator: ":").last else { return "unknown processor" }
        return name.trimmingCharacters(in: .whitespaces)
    }

    private static func read(_ path: String) -> String {
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? "unknown"
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
