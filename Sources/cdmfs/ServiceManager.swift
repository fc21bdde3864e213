import CLinux
import Glibc
import LinuxSupport

/// The service manager that started the process, if one wants to be told how it does (sd_notify(3)).
struct ServiceManager {
    private let socket: String?

    /// Finds it in the environment, which must not have been cleared yet.
    init() {
        socket = unsafe getenv("NOTIFY_SOCKET").map { unsafe String(cString: $0) }
    }

    /// The mount answers.
    func ready(at mountPoint: String) { send("READY=1\nSTATUS=Serving \(mountPoint.printable)") }

    /// The mount ends.
    func stopping() { send("STOPPING=1") }

    private func send(_ text: String) {
        // A message that does not come through does no harm: the manager then says that it never came.
        if let socket { _ = unsafe clinux_send_datagram(socket, text) }
    }
}
