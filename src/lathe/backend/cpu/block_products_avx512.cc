#include "lathe/backend/cpu/block_products.h"
#include "lathe/backend/cpu/block_products_kernel.h"

namespace lathe {

const BlockProducts kBlockProductsAvx512 = {all_blocks<8, double, Doubles>,
                                            all_blocks<8, float, Floats>};

}  // namespace lathe
