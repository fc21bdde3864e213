import Glibc

/// Which threads serve requests.
enum WorkerThread {
    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        unsafe pthread_key_create(&key, nil)
        return key
    }()

    /// Whether this thread serves requests of some session.
    static var isCurrent: Bool {
        unsafe pthread_getspecific(key) != nil
    }

    /// Declares this thread one that serves requests.
    static func enter() {
        unsafe pthread_setspecific(key, UnsafeRawPointer(bitPattern: 1))
    }
}
