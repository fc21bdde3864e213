import CLinux
import Glibc
import SystemPackage

/// Sleeps for as long, whatever signals come.
func sleep(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    var rest = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
    while true {
        var wanted = rest
        guard unsafe nanosleep(&wanted, &rest) != 0, Errno.last == .interrupted else { return }
    }
}

/// Waits a moment for a frame that is neither mapped nor free: it is on its way, to its first page table or home, and arrives.
func awaitFrame() { sleep(.microseconds(100)) }
