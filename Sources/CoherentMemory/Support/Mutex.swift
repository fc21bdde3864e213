import LinuxSupport

/// Every lock of the machine is one that the thread sanitizer sees.
typealias Mutex = TracedMutex
