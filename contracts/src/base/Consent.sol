// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// Whether an account signed: by its own key, or by what its code says (ERC-1271).
///
/// The key is asked first. An account that carries code by EIP-7702 still has its key, and must not lose the
/// power to sign, or gain the power to unsign, by what it delegates to.
library Consent {
    error NotSignedBy(address account);

    function requireOf(address account, bytes32 digest, bytes calldata signature) internal view {
        // What is not looked at says why a signature is none.
        // slither-disable-next-line unused-return
        (address recovered, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (failure == ECDSA.RecoverError.NoError && recovered == account) return;
        if (
            account.code.length == 0
                || !SignatureChecker.isValidERC1271SignatureNowCalldata(account, digest, signature)
        ) revert NotSignedBy(account);
    }
}
