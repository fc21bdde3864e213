import ArgumentParser
import Glibc
import LinuxSupport
import SystemPackage

/// `cdmfs metrics`
struct MetricsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics",
        abstract: "Print the counters of a machine, for Prometheus.",
        discussion: """
            The text is that of sys/kernel/cdm/metrics: OpenMetrics, and the text format of Prometheus, too. A textfile \
            collector takes it as it is:

              cdmfs metrics /mnt/cdm > /var/lib/prometheus/node-exporter/cdmfs.prom

            Exit status: 0 on success, 64 if there is not exactly one machine to choose, 32 if no machine is mounted at the given place.
            """)

    @Argument(help: "Where the machine is mounted. Optional if only one machine is mounted.")
    var mountpoint: String?

    func run() throws {
        let path = try mountpoint ?? onlyMount(for: "metrics")
        do throws(Errno) {
            print(try SmallFile.text(FilePath(path).appending("sys/kernel/cdm/metrics")), terminator: "")
        } catch {
            let reason = error == .noSuchFileOrDirectory ? "no machine is mounted here" : "\(error)"
            throw Failure(.mount, "metrics: \(path): \(reason)")
        }
    }
}

/// The only mount of a machine that this process sees.
func onlyMount(for command: String) throws -> String {
    // A directory of a mount that is bound elsewhere is no machine.
    let mounts = try MountInfo.all(of: getpid()).filter { $0.isMachine && $0.root == "/" }.map(\.mountPoint)
    guard mounts.count == 1 else {
        let list =
            mounts.isEmpty ? "no machine is mounted" : "machines are mounted at \(mounts.joined(separator: ", "))"
        throw Failure(.usage, "\(command): expected the mount point of a machine: \(list)")
    }
    return mounts[0]
}
