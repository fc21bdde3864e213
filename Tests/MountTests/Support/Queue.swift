import SystemPackage
import Testing

extension TestMount {
    /// The queue of a device, below the mount.
    func queue(_ device: String = "cdm0") -> String { "sys/class/cdm/\(device)/queue" }

    /// Submits commands and waits until they are done; their results, without their numbers.
    func execute(_ commands: String, on device: String = "cdm0") throws -> [String] {
        let queue = queue(device)
        let before = try Int(word(queue + "/completed"))! + Int(word(queue + "/failed"))!
        let count = commands.split(separator: "\n").count
        try store(commands, in: queue + "/submit")
        #expect(
            try eventually(within: 20) {
                try Int(word(queue + "/completed"))! + Int(word(queue + "/failed"))! == before + count
            })
        return try results(of: device).suffix(count)
    }

    /// What became of the last commands, without their numbers.
    func results(of device: String = "cdm0") throws -> [String] {
        try text(queue(device) + "/results").split(separator: "\n").map {
            $0.split(separator: " ").dropFirst().joined(separator: " ")
        }
    }
}
