import LinuxSupport

/// Every lock of the module is one that the thread sanitizer sees.
typealias Mutex = TracedMutex
