#include "lathe/backend/cpu/block_products.h"
#include "lathe/backend/cpu/block_products_kernel.h"

namespace lathe {

const BlockProducts kBlockProductsAvx2 = {all_blocks<3, double, Doubles>,
                                          all_blocks<3, float, Floats>};

}  // namespace lathe
