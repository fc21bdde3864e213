// zlib, of which only the checksum is used.
#include <zlib.h>
