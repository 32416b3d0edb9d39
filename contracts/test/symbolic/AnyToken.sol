// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {SYMBOLS} from "./Symbols.sol";

/// Every token at once: a transfer is refused, answered with yes or no, and leaves the contract that asks with any
/// balance whatever. Between transfers it leaves balances alone: what a rebase takes, no book can give back.
contract AnyToken {
    /// The only balance that anybody asks for: the contract's own. No token has as many units as 192 bits count.
    uint192 public held;

    error Refused();

    function balanceOf(address) external view returns (uint256) {
        return held;
    }

    function transfer(address, uint256) external returns (bool) {
        return _move();
    }

    function transferFrom(address, address, uint256) external returns (bool) {
        return _move();
    }

    function permit(address, address, uint256, uint256, uint8, bytes32, bytes32) external pure {
        if (SYMBOLS.createBool("refuses the permit")) revert Refused();
    }

    function receiveWithAuthorization(
        address,
        address,
        uint256,
        uint256,
        uint256,
        bytes32,
        uint8,
        bytes32,
        bytes32
    ) external {
        _move();
    }

    function _move() private returns (bool) {
        if (SYMBOLS.createBool("refuses")) revert Refused();
        held = uint192(SYMBOLS.createUint(192, "held after"));
        return SYMBOLS.createBool("says yes");
    }
}
