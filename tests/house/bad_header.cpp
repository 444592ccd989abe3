// Includes a header that does not include what it uses: must not compile.
#include "tests/house/bad_header.h"
