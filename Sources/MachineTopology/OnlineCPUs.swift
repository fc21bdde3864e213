import Glibc
import LinuxSupport
import SystemPackage

extension IDSet {
    /// The online CPUs of the host, the meaning of `cpus = "all"`.
    public static var onlineCPUs: IDSet {
        if let bytes = try? SmallFile.read("/sys/devices/system/cpu/online", limit: 4096),
            let cpus = try? IDSet(list: String(decoding: bytes, as: UTF8.self), limit: maxCPUs), !cpus.isEmpty
        {
            return cpus
        }
        // Without /sys only their number is known.
        return IDSet(0..<Swift.min(maxCPUs, Swift.max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))))
    }
}
