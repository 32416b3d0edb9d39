// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ExactToken} from "./ExactToken.sol";

/// Pays out one token; what a recipient cannot take stays owed to it until it can.
///
/// So a party that the token has blocked never holds up what the other party is due.
abstract contract Dues is ReentrancyGuardTransient {
    using ExactToken for IERC20;

    error ZeroAddress();
    error ZeroAmount();
    error NothingOwed(address account);

    event Owed(address indexed account, uint256 amount);
    event Collected(address indexed account, address indexed to, uint256 amount);

    /// The only token this deployment knows.
    IERC20 public immutable token;

    /// What could not be handed over, or waits to be collected.
    mapping(address account => uint256 amount) public owed;

    constructor(IERC20 token_) {
        if (address(token_) == address(0)) revert ZeroAddress();
        token = token_;
    }

    /// Takes everything that is owed to the caller, to an address of its choice.
    function collect(address to) external nonReentrant {
        uint256 amount = owed[msg.sender];
        if (amount == 0) revert NothingOwed(msg.sender);
        owed[msg.sender] = 0;
        emit Collected(msg.sender, to, amount);
        _give(to, amount);
    }

    function _take(address from, uint256 amount) internal {
        if (amount == 0) revert ZeroAmount();
        token.pull(from, amount);
    }

    /// To an address that the caller chose: where that cannot take it, nothing has happened.
    function _give(address to, uint256 amount) internal {
        token.push(to, amount);
    }

    /// To a party of an agreement: where that cannot take it, the others must not suffer.
    function _pay(address to, uint256 amount) internal {
        if (amount > 0 && !token.tryPush(to, amount)) _owe(to, amount);
    }

    function _owe(address to, uint256 amount) internal {
        if (amount == 0) return;
        owed[to] += amount;
        emit Owed(to, amount);
    }
}
