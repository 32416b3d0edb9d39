// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {AnyToken} from "./AnyToken.sol";
import {SYMBOLS} from "./Symbols.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Vm} from "../base/Vm.sol";
import {PaymentChannels} from "../../src/PaymentChannels.sol";

/// Proves that channels conserve: from any state of the books, for any caller, any arguments, any signatures and any
/// token, a call that succeeds changes free and reserved money together by what the contract's balance changed,
/// raises claims only and never above their ceiling, and touches nobody's money but that of the accounts it names.
///
/// Each proof is one step, and what it assumes of the state before it asserts of the state after: so it holds after
/// any number of steps. halmos takes a broken `assert` for a failure and a revert for a call that did not succeed.
contract ChannelsProofs {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    PaymentChannels private channels;
    AnyToken private token;

    /// The accounts whose free money, and the channels whose reserved money, a call may change; twice the same where
    /// it is only one.
    address[2] private _accounts;
    address[2] private _payers;
    address[2] private _payees;

    struct Books {
        uint256 money;
        uint256 held;
        uint256[2] claimed;
        uint256 bystandersFree;
        bytes32 bystandersChannel;
    }

    /// Somebody, and a channel, that a call does not name.
    address private bystander;
    address private otherPayer;
    address private otherPayee;

    function setUp() external {
        token = new AnyToken();
        channels = new PaymentChannels(IERC20(address(token)), 1 days);
        SYMBOLS.enableSymbolicStorage(address(token));
        SYMBOLS.enableSymbolicStorage(address(channels));
        vm.warp(SYMBOLS.createUint(63, "now"));
        bystander = SYMBOLS.createAddress("bystander");
        otherPayer = SYMBOLS.createAddress("other payer");
        otherPayee = SYMBOLS.createAddress("other payee");
    }

    function check_deposit(address caller, address account, uint96 amount) external {
        Books memory before = _before(account, account, caller, account);
        vm.prank(caller);
        channels.deposit(account, amount);
        _after(before);
    }

    function check_deposit_with_permit(address caller, uint96 amount, uint256 deadline) external {
        Books memory before = _before(caller, caller, caller, caller);
        vm.prank(caller);
        channels.depositWithPermit(amount, deadline, 27, "r", "s");
        _after(before);
    }

    function check_deposit_with_authorization(
        address caller,
        address from,
        address payee,
        uint96 amount,
        bytes32 salt
    ) external {
        Books memory before = _before(from, from, from, payee);
        vm.prank(caller);
        channels.depositWithAuthorization(from, payee, amount, 0, 1, salt, 27, "r", "s");
        _after(before);
    }

    function check_withdraw(address caller, address to, uint96 amount) external {
        Books memory before = _before(caller, caller, caller, to);
        vm.prank(caller);
        channels.withdraw(to, amount);
        _after(before);
    }

    function check_reserve(address caller, address payee, uint96 amount) external {
        Books memory before = _before(caller, caller, caller, payee);
        vm.prank(caller);
        channels.reserve(payee, amount);
        _after(before);
    }

    function check_reserve_many(address caller, address payee, uint96 amount, address payee2, uint96 amount2)
        external
    {
        PaymentChannels.Reservation[] memory both = new PaymentChannels.Reservation[](2);
        both[0] = PaymentChannels.Reservation(payee, amount);
        both[1] = PaymentChannels.Reservation(payee2, amount2);
        Books memory before = _before([caller, caller], [caller, caller], [payee, payee2]);
        vm.prank(caller);
        channels.reserveMany(both);
        _after(before);
    }

    function check_thaw(address caller, address payee) external {
        Books memory before = _before(caller, caller, caller, payee);
        vm.prank(caller);
        channels.thaw(payee);
        _after(before);
    }

    function check_unreserve(address caller, address payee) external {
        Books memory before = _before(caller, caller, caller, payee);
        vm.prank(caller);
        channels.unreserve(payee);
        _after(before);
    }

    function check_release(address caller, address payer) external {
        Books memory before = _before(payer, payer, payer, caller);
        vm.prank(caller);
        channels.release(payer);
        _after(before);
    }

    function check_claim(
        address caller,
        address payer,
        address payee,
        uint96 cumulative,
        bytes32 r,
        bytes32 vs
    ) external {
        Books memory before = _before(payee, payee, payer, payee);
        vm.prank(caller);
        channels.claim(payer, payee, cumulative, r, vs);
        _after(before);
    }

    function check_claim_packed(address caller, address payee, address payer, bytes32 r, bytes32 vs)
        external
    {
        uint96 cumulative = uint96(SYMBOLS.createUint(96, "cumulative"));
        Books memory before = _before(payee, payee, payer, payee);
        vm.prank(caller);
        channels.claimPacked(payee, abi.encodePacked(payer, cumulative, r, vs));
        _after(before);
    }

    /// Two of one payer: the second finds what the first has left.
    function check_claim_packed_with_two(address caller, address payee, address payer) external {
        bytes memory first = abi.encodePacked(
            payer, uint96(SYMBOLS.createUint(96, "cumulative")), SYMBOLS.createBytes(64, "signature")
        );
        bytes memory second = abi.encodePacked(
            payer, uint96(SYMBOLS.createUint(96, "cumulative 2")), SYMBOLS.createBytes(64, "signature 2")
        );
        Books memory before = _before(payee, payee, payer, payee);
        vm.prank(caller);
        channels.claimPacked(payee, bytes.concat(first, second));
        _after(before);
    }

    function check_authorize_signer(address caller, address signer) external {
        Books memory before = _before(caller, caller, caller, signer);
        vm.prank(caller);
        channels.authorizeSigner(signer);
        _after(before);
    }

    function check_authorize_signer_by_signature(
        address caller,
        address payer,
        address signer,
        uint256 deadline
    ) external {
        bytes memory signature = SYMBOLS.createBytes(65, "signature");
        Books memory before = _before(caller, payer, payer, signer);
        vm.prank(caller);
        channels.authorizeSignerBySignature(payer, signer, deadline, signature);
        _after(before);
    }

    function check_revoke_signer(address caller, address signer) external {
        Books memory before = _before(caller, caller, caller, signer);
        vm.prank(caller);
        channels.revokeSigner(signer);
        _after(before);
    }

    // ── Below ──

    function _before(address account, address account2, address payer, address payee)
        private
        returns (Books memory)
    {
        return _before([account, account2], [payer, payer], [payee, payee]);
    }

    function _before(address[2] memory accounts, address[2] memory payers, address[2] memory payees)
        private
        returns (Books memory books)
    {
        (_accounts, _payers, _payees) = (accounts, payers, payees);
        vm.assume(bystander != accounts[0] && bystander != accounts[1]);
        for (uint256 index = 0; index < 2; ++index) {
            vm.assume(otherPayer != payers[index] || otherPayee != payees[index]);
            PaymentChannels.Channel memory channel = channels.channelOf(payers[index], payees[index]);
            vm.assume(channel.claimed <= channel.ceiling);
            // What is free is held, and what is held is below any token's supply.
            vm.assume(channels.freeOf(accounts[index]) <= type(uint192).max);
        }
        return _books();
    }

    function _after(Books memory before) private view {
        Books memory after_ = _books();
        unchecked {
            assert(after_.money - before.money == after_.held - before.held);
        }
        for (uint256 index = 0; index < 2; ++index) {
            PaymentChannels.Channel memory channel = channels.channelOf(_payers[index], _payees[index]);
            assert(channel.claimed <= channel.ceiling);
            assert(after_.claimed[index] >= before.claimed[index]);
        }
        assert(after_.bystandersFree == before.bystandersFree);
        assert(after_.bystandersChannel == before.bystandersChannel);
    }

    function _books() private view returns (Books memory books) {
        bool oneAccount = _accounts[0] == _accounts[1];
        bool oneChannel = _payers[0] == _payers[1] && _payees[0] == _payees[1];
        unchecked {
            books.money = channels.freeOf(_accounts[0]) + (oneAccount ? 0 : channels.freeOf(_accounts[1]));
            for (uint256 index = 0; index < 2; ++index) {
                PaymentChannels.Channel memory channel = channels.channelOf(_payers[index], _payees[index]);
                books.claimed[index] = channel.claimed;
                if (index == 0 || !oneChannel) {
                    books.money += uint256(channel.ceiling) - channel.claimed;
                }
            }
        }
        books.held = token.held();
        books.bystandersFree = channels.freeOf(bystander);
        PaymentChannels.Channel memory other = channels.channelOf(otherPayer, otherPayee);
        books.bystandersChannel =
            bytes32(uint256(other.ceiling) << 160 | uint256(other.claimed) << 64 | uint256(other.thawedAt));
    }
}
