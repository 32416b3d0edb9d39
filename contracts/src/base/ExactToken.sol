// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// Moves a token so that our own balance changes by exactly what the books say, or not at all.
///
/// A token that takes a fee, mints on the way or lies about a transfer is refused here: accepting it would make
/// one user's fee another user's loss. Callers hold a guard against re-entrancy, or else a transfer inside a
/// transfer would be counted twice.
library ExactToken {
    using SafeERC20 for IERC20;

    error TransferInexact(uint256 balanceBefore, uint256 balanceAfter, uint256 amount);

    function pull(IERC20 token, address from, uint256 amount) internal {
        uint256 balanceBefore = token.balanceOf(address(this));
        // From the sender of the call: all callers say so.
        // slither-disable-next-line arbitrary-send-erc20
        token.safeTransferFrom(from, address(this), amount);
        requireGained(token, balanceBefore, amount);
    }

    /// For a transfer that the token made by another way than `transferFrom`.
    function requireGained(IERC20 token, uint256 balanceBefore, uint256 amount) internal view {
        uint256 balanceAfter = token.balanceOf(address(this));
        if (balanceAfter < balanceBefore || balanceAfter - balanceBefore != amount) {
            revert TransferInexact(balanceBefore, balanceAfter, amount);
        }
    }

    function push(IERC20 token, address to, uint256 amount) internal {
        uint256 balanceBefore = token.balanceOf(address(this));
        token.safeTransfer(to, amount);
        _requireLost(token, balanceBefore, amount);
    }

    /// Tells whether the token moved; one that refuses (a blocked recipient) has changed nothing.
    function tryPush(IERC20 token, address to, uint256 amount) internal returns (bool moved) {
        uint256 balanceBefore = token.balanceOf(address(this));
        moved = token.trySafeTransfer(to, amount);
        _requireLost(token, balanceBefore, moved ? amount : 0);
    }

    function _requireLost(IERC20 token, uint256 balanceBefore, uint256 amount) private view {
        uint256 balanceAfter = token.balanceOf(address(this));
        if (balanceAfter > balanceBefore || balanceBefore - balanceAfter != amount) {
            revert TransferInexact(balanceBefore, balanceAfter, amount);
        }
    }
}
