import CoherentMemory
import Dispatch
import LinuxSupport
import SystemPackage

extension ProcTasks {
    /// What a process maps of the mount, ascending by address. Waits a while where its address space is locked.
    ///
    /// - Parameters:
    ///   - ofAllFiles: whether mappings of other files are meant, too, and those of none.
    ///   - timeout: how long it waits for a process that does not let itself be read.
    /// - Throws: ESRCH for no such process, also where another has its number; EPERM for one that may not be looked into;
    ///   ETIMEDOUT for one that does not let itself be read.
    func mappings(
        of process: TaskIdentity, ofAllFiles: Bool = false,
        timeout: DispatchTimeInterval = ProcessInspector.timeout
    ) throws(Errno) -> [ProcMapping] {
        guard let mount else { return [] }
        return try inspector.read(process, of: { user(of: process.id) }, timeout: timeout) { progress in
            Result { () throws(Errno) in try Self.readMappings(of: process, on: ofAllFiles ? nil : mount, progress) }
        }
    }

    private static func readMappings(
        of process: TaskIdentity, on mount: DeviceNumber?, _ progress: ProcessInspector.Progress
    ) throws(Errno) -> [ProcMapping] {
        let maps: ProcDescriptor
        do throws(Errno) {
            maps = try ProcDescriptor("/proc/\(process.id)/maps")
        } catch {
            throw error == .permissionDenied ? .notPermitted : error
        }
        // The descriptor stands for what the process of that number has now; so it is asked now whose the number is.
        guard ProcStat(task: process.id)?.startTime == process.startTime else { throw .noSuchProcess }
        var found: [ProcMapping] = []
        try maps.forEachLine { line in
            if let mapping = ProcMapping(line, on: mount) { found.append(mapping) }
            progress.step()
            return true
        }
        return found
    }
}
