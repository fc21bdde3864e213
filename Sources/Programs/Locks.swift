import LinuxSupport

// The lock that the thread sanitizer understands.
typealias Mutex = TracedMutex
